"""`tuner search`: options -> StudyConfig -> SearchPlan -> StudyRun -> verdicts, recommendation, where to look further."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import examples, hang_option, json_option, patience_option, print_json, retries_option, spool_option
from tuner.cli.search_options import SectionedCommand, with_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.search.plan import SearchPlan
    from tuner.search.study import StudyOutcome
    from tuner.setup.config import StudyConfig
    from tuner.upkeep.gate import Gate
    from tuner.upkeep.gated import Passed

EXAMPLES = examples(
    "tuner search --model tiny-qwen3 --study first --page-sizes 16,32,64 --chunk-budgets 128,256,512 --workload demo",
    "tuner search study.yaml --dry-run                      # what it would do, and for how long",
    "tuner search study.yaml --resume                       # go on where it was interrupted",
    "tuner search study.yaml --objective output_throughput --slo 'ttft_p99_ms<=500' --time-budget 30m",
    "tuner search study.yaml --factor max_num_seqs=16,32,64 --factor dtype=bfloat16,float32 --trials 20   # our sampler chooses",
    "tuner search study.yaml --gate 'throughput>=0.97*published' --storage postgresql://tuner@db/tuner   # for CI",
)

MOST_ENGINES = 40  # lines of a plan


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("config", required=False, type=click.Path(path_type=Path), metavar="[CONFIG.yaml]")
@with_settings
@click.option("--resume", is_flag=True, help="Go on with the study: finished measurements stay, what is missing runs.")
@click.option("--dry-run", is_flag=True, help="Print the plan and its estimated time; write nothing.")
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="LIMIT",
    help="What it has to reach, e.g. 'throughput>=0.97*published' or 'ttft_p99_ms<=500'; may be repeated. Exit code 1: one fails with 95 % "
    "confidence, 3: one is undecided.",
)
@spool_option
@patience_option
@hang_option
@retries_option
@json_option
@click.pass_context
def search(
    context: click.Context,
    /,
    *,
    config: Path | None,
    resume: bool,
    dry_run: bool,
    gates: tuple[str, ...],
    spool: Path | None,
    patience: float,
    hang_factor: float,
    retries: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure page size, chunk budget and page alignment on a real engine; end with verdicts and recommended settings.

    Settings come from CONFIG.yaml and from the options; an option wins. The keys of the file are the options' names with underscores (slos,
    factors and engine_args for --slo, --factor and --engine-arg).
    """
    from tuner.cli.interrupts import interruptible

    with interruptible():  # from here on: planning imports much, may ask a device, and makes the tables
        on_fault = (spool, patience, hang_factor, retries)
        code = _search(config, options, resume=resume, dry_run=dry_run, on_fault=on_fault, gates=gates, as_json=as_json)
    context.exit(code)


def _search(
    config: Path | None,
    options: dict[str, Any],
    *,
    resume: bool,
    dry_run: bool,
    on_fault: tuple[Path | None, float, float, int],
    gates: tuple[str, ...],
    as_json: bool,
) -> int:
    """The exit code."""
    from tuner.cli.progress_view import ProgressView, say
    from tuner.search.running import OnFault, planned, run_plan
    from tuner.setup.config_file import load_config
    from tuner.trials.progress import Progress
    from tuner.upkeep.gate import parse_gates
    from tuner.upkeep.gated import check_gates

    asked = parse_gates(gates)
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items() if value not in (None, ())}
    named = load_config(config, given, unnamed=None if resume else time.strftime("study-%Y%m%d-%H%M%S"))
    with planned(named, say, resume=resume, dry_run=dry_run) as plan:
        if asked:
            check_gates(plan.setup.config, asked)
        if dry_run:
            _print_plan(plan, as_json)
            return 0
        with ProgressView(plan.setup.objectives[0].name) as view:
            outcome = run_plan(plan, Progress(listener=view), on_fault=OnFault(*on_fault))
        settings = plan.setup.config
    passed = _at_the_gates(settings.storage, outcome, asked)
    _print_outcome(settings, outcome, passed, as_json)
    return 1 if not outcome.completed_trials else passed.exit_code


def _at_the_gates(url: str, outcome: StudyOutcome, asked: Sequence[Gate]) -> Passed:
    from tuner.cli.options import reading
    from tuner.upkeep.gated import Passed, pass_gates
    from tuner.verdict.answer import answer_of

    if not asked:
        return Passed()
    with reading(url) as storage:
        return pass_gates(storage, outcome.study, answer_of(outcome.recommendation), asked)


def _print_plan(plan: SearchPlan, as_json: bool) -> None:
    from tuner.cli.space import factor_line
    from tuner.cli.tables import duration
    from tuner.core.factors import further
    from tuner.core.numbers import number
    from tuner.setup.factor_list import factors_json

    if as_json:
        print_json(plan.to_json())
        return
    config, space = plan.setup.config, plan.setup.space
    for group in plan.groups[:MOST_ENGINES]:
        what = f"page size {group.block_size}, budget up to {group.compiled_max}{further(group.factors)}"
        print(f"engine: {what}, {group.configurations} configurations inside")
    if len(plan.groups) > MOST_ENGINES:
        print(f"and {len(plan.groups) - MOST_ENGINES:,} engines more")
    for factor in factors_json(space):
        print(factor_line(factor))
    if not space.contrast.of_arms:
        print(f"compares {space.contrast.title}, {'in engine starts in turn' if space.contrast.cold else 'side by side in one engine'}")
    rounds = str(config.rounds.min) if config.rounds.min == config.rounds.max else f"{config.rounds.min} to {config.rounds.max}"
    each = f"{config.starts} starts of each engine with {config.rounds.min} windows" if space.contrast.cold else f"{rounds} rounds each"
    print(f"sampler {plan.sampler}: {plan.trials} trials in {len(space.cells)} cells, {each}, baseline {space.baseline}")
    if not space.has_vllms_own:
        own = f"{space.own}{further(space.own_levels)}"
        print(f"vLLM's own defaults ({own}) are not among them: what is gained will be told against the baseline")
    if plan.step_model is not None:
        prior = plan.prior_json()
        print(f"prior: predicted for {prior['predicted']} configurations: {prior.get('step_times') or prior['reason']}")
    print(f"then {plan.finalists} finalists, each started cold")
    print(f"engine starts at most {plan.engine_starts}, measured windows at most {plan.windows}")
    if plan.measured:
        print(f"of these {plan.measured} windows are measured already and do not run again")
    limit = "" if config.time_budget is None else f" (time budget {duration(config.time_budget)})"
    print(f"estimated time {duration(plan.estimate_s)}{limit}")
    costs = plan.costs
    start_s, warm_up_s, window_s = (number(seconds, 3) for seconds in (costs.start_s, costs.warm_up_s, costs.window_s))
    print(f"  from {start_s} s a start, {warm_up_s} s a warm-up, {window_s} s a window: {costs.source}")
    print("nothing was written (--dry-run)")


def _print_outcome(config: StudyConfig, outcome: StudyOutcome, passed: Passed, as_json: bool) -> None:
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
                **({"gates": [item.to_json() for item in passed.results]} if passed.results else {}),
            }
        )
        return
    print_verdicts(outcome.comparison)
    print()
    print_answer(answer)
    print()
    for item in passed.results:
        print(f"gate {item.gate}: {item.standing} ({item.told}; {passed.looked_at})")
    if config.profile != "none" and answer.evidence.get("profile_ids"):
        print(f"profiles: tuner tensorboard --logdir {config.logdir}")
    print(f"more: tuner compare {config.study} --storage {parse_url(config.storage).safe}")
    print(f"wall time {duration(outcome.wall_s)}, {outcome.engine_starts} engine starts, {outcome.windows} measured windows")
