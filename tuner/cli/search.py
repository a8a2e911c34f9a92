"""`tuner search`: options -> StudyConfig -> StudyRun -> verdicts, recommendation, where to look further."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import examples, json_option, print_json
from tuner.cli.search_options import SectionedCommand, with_settings
from tuner.core.errors import BadInput

if TYPE_CHECKING:
    from tuner.search.plan import SearchPlan
    from tuner.search.study import StudyOutcome
    from tuner.setup.config import StudyConfig
    from tuner.setup.study_setup import StudySetup

EXAMPLES = examples(
    "tuner search --model tiny-qwen3 --study first --page-sizes 16,32,64 --chunk-budgets 128,256,512 --workload demo",
    "tuner search study.yaml --dry-run                      # what it would do, and for how long",
    "tuner search study.yaml --resume                       # go on where it was interrupted",
    "tuner search study.yaml --objective output_throughput --slo 'ttft_p99_ms<=500' --time-budget 30m",
    "tuner search study.yaml --trials 20                    # too few for the grid: our sampler, with earlier studies as priors",
)


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("config", required=False, type=click.Path(path_type=Path), metavar="[CONFIG.yaml]")
@with_settings
@click.option("--resume", is_flag=True, help="Go on with the study: finished measurements stay, what is missing runs.")
@click.option("--dry-run", is_flag=True, help="Print the plan and its estimated time; write nothing.")
@json_option
@click.pass_context
def search(context: click.Context, /, config: Path | None, resume: bool, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Measure page size, chunk budget and page alignment on a real engine; end with verdicts and recommended settings.

    Settings come from CONFIG.yaml and from the options; an option wins. The keys of the file are the options' names with underscores (slos
    and engine_args for --slo and --engine-arg).
    """
    from tuner.launchers.choice import check_launcher, device_limits
    from tuner.setup.config_file import load_config
    from tuner.setup.study_setup import check_places, prepare_study

    given = {key: value for key, value in options.items() if value is not None and value != ()}
    settings = load_config(config, _with_study_name(config, _lists(given), resume=resume))
    check_launcher(settings)
    check_places(settings)
    setup = prepare_study(settings, device_limits(settings))
    for warning in setup.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    plan, measured = _plan(setup, resume)
    if dry_run:
        _print_plan(plan, measured, as_json)
        return
    outcome = _run(setup, resume)
    _print_outcome(settings, outcome, as_json)
    context.exit(0 if outcome.completed_trials else 1)


def _lists(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def _with_study_name(config: Path | None, given: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    """A name made from the date where none is given; resuming needs the old one."""
    from tuner.setup.config_file import read_study_file

    if "study" in given or (config is not None and "study" in read_study_file(config)):
        return given
    if resume:
        raise BadInput("study is missing; --resume needs the name of the study to go on with: add --study NAME")
    return {**given, "study": time.strftime("study-%Y%m%d-%H%M%S")}


def _plan(setup: StudySetup, resume: bool) -> tuple[SearchPlan, int]:
    """The plan, with the costs of an earlier study of this model in this database, and how many windows this study has already.

    Before anything is written it refuses a name that is taken, nothing to resume, an unknown study to begin with, a database that cannot
    be used.
    """
    from storage.upgrade import check, open_storage
    from storage.url import parse_url
    from tuner.search.opening import check_resumable, find_study
    from tuner.search.plan import known_costs, plan_search
    from tuner.search.warm_start import check_warm_start

    url = setup.config.storage
    path = parse_url(url).path
    new_file = not resume and path is not None and path.parent.is_dir() and not path.exists()
    if new_file or check(url)["revision"] is None:  # the search will create the tables
        check_resumable(setup, None, resume=resume)
        plan = plan_search(setup)
        check_warm_start(setup, None, plan.sampler)
        return plan, 0
    storage = open_storage(url, create=False, read_only=True)
    try:
        existing = find_study(storage, setup.config.study)
        check_resumable(setup, existing, resume=resume)
        measured = 0 if existing is None else len(storage.list_measurements(study_id=existing.id))
        plan = plan_search(setup, known_costs(storage, setup))
        if not resume:
            check_warm_start(setup, storage, plan.sampler)
        return plan, measured
    finally:
        storage.close()


def _run(setup: StudySetup, resume: bool) -> StudyOutcome:
    from storage.upgrade import open_storage
    from tuner.cli.interrupts import interruptible
    from tuner.cli.progress_view import ProgressView
    from tuner.launchers.choice import make_finalists_launcher, make_launcher
    from tuner.search.study import StudyRun
    from tuner.trials.progress import Progress

    config = setup.config
    launcher = make_launcher(config)
    storage = open_storage(config.storage, create=not resume)
    try:
        with interruptible(), ProgressView(setup.objectives[0].name) as view:
            finalists = make_finalists_launcher(config)
            progress = Progress(listener=view)
            return StudyRun(setup, storage, config.storage, launcher, progress, finalists_launcher=finalists, resume=resume).run()
    finally:
        storage.close()


def _print_plan(plan: SearchPlan, measured: int, as_json: bool) -> None:
    from tuner.cli.tables import duration

    if as_json:
        print_json({**plan.to_json(), "measured_windows": measured})
        return
    for group in plan.groups:
        print(f"engine: page size {group.block_size}, budget up to {group.compiled_max}, {group.configurations} configurations inside")
    rounds = str(plan.rounds[0]) if plan.rounds[0] == plan.rounds[1] else f"{plan.rounds[0]} to {plan.rounds[1]}"
    print(f"sampler {plan.sampler}: {plan.trials} trials in {plan.cells} cells, {rounds} rounds each, baseline {plan.baseline}")
    print(f"then {plan.finalists} finalists, each started cold")
    print(f"engine starts at most {plan.engine_starts}, measured windows at most {plan.windows}")
    if measured:
        print(f"of these {measured} windows are measured already and do not run again")
    limit = "" if plan.time_budget_s is None else f" (time budget {duration(plan.time_budget_s)})"
    print(f"estimated time {duration(plan.estimate_s)}{limit}")
    costs = plan.costs
    print(f"  from {costs.start_s:.3g} s a start, {costs.warm_up_s:.3g} s a warm-up, {costs.window_s:.3g} s a window: {costs.source}")
    print("nothing was written (--dry-run)")


def _print_outcome(config: StudyConfig, outcome: StudyOutcome, as_json: bool) -> None:
    from storage.url import parse_url
    from tuner.cli.tables import duration
    from tuner.cli.verdicts import print_answer, print_verdicts
    from tuner.report.report import recommendation_json, study_comparison_json, study_json
    from tuner.verdict.answer import answer_of

    answer = answer_of(outcome.recommendation)
    run = {"wall_s": outcome.wall_s, "engine_starts": outcome.engine_starts, "measured_windows": outcome.windows}
    if as_json:
        print_json(
            {
                "study": study_json(outcome.study),
                **study_comparison_json(outcome.comparison),
                "recommendation": recommendation_json(answer),
                "run": run,
            }
        )
        return
    print_verdicts(outcome.comparison)
    print()
    print_answer(answer)
    print()
    if config.profile != "none" and answer.evidence.get("profile_ids"):
        print(f"profiles: tuner tensorboard --logdir {config.logdir}")
    print(f"more: tuner compare {config.study} --storage {parse_url(config.storage).safe}")
    print(f"wall time {duration(outcome.wall_s)}, {outcome.engine_starts} engine starts, {outcome.windows} measured windows")
