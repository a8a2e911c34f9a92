"""`tuner submit`: a study file's checks and plan as in a dry run, then its place in the queue."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import examples, json_option, operator, print_json, storage_option, writing

if TYPE_CHECKING:
    from tuner.fleet.dry_run import DryRun


@click.command(
    epilog=examples(
        "tuner submit study.yaml",
        "tuner submit study.yaml --priority 5 --team chat --require accelerator=v6e --require chips=4",
        "tuner submit study.yaml --workers 8                    # up to eight workers measure it together",
        "tuner submit study.yaml --require 'vllm-tpu>=0.30' --webhook https://example.org/hook",
    )
)
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG.yaml")
@click.option("--study", metavar="NAME", help="Name under which everything is stored.  [default: the file's, or made from the date]")
@click.option("--resume", is_flag=True, help="The study is there already: go on with it.")
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0, metavar="N", help="Higher ones run first.  [default: 0]")
@click.option("--team", metavar="NAME", help="Who it counts for, where teams have limits (`tuner queue limit`).")
@click.option(
    "--require",
    "requirements",
    multiple=True,
    metavar="NEED",
    help="What the worker's machine must have: accelerator=v6e, chips=4, 'vllm-tpu>=0.30'. Repeat the option for several.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    default=1,
    metavar="N",
    help="How many workers may work on it at once, on machines that are alike; each measures whole engines.  [default: 1]",
)
@click.option("--webhook", metavar="URL", help="Told when the study ends.")
@storage_option
@json_option
def submit(config: Path, study: str | None, resume: bool, storage: str, as_json: bool, **fields: Any) -> None:
    """Check CONFIG.yaml as `tuner search --dry-run` does and put the study into the queue.

    Settings that the file leaves open are decided on the worker's machine; its storage, logdir and engine_python are the worker's.
    """
    from tuner.fleet.dry_run import dry_run
    from tuner.fleet.requirements import parse_requirements
    from tuner.fleet.submission import submission_of
    from tuner.setup.config_file import load_config

    settings = load_config(config, {} if study is None else {"study": study}, unnamed=time.strftime("study-%Y%m%d-%H%M%S"))
    needs = parse_requirements(fields.pop("requirements"))
    with writing(storage, create=True) as opened:
        would = dry_run(settings, opened, needs.get("accelerator"), resume=resume)
        stored = opened.submit(submission_of(settings, operator("").name, requirements=needs, **fields))
    if as_json:
        print_json({"submission": submission_json(stored), **would.to_json()})
        return
    _print_plan(would)
    print(f"submission {stored.id}: study {stored.study} is queued; follow it with: tuner watch {stored.id}")


def _print_plan(would: DryRun) -> None:
    from tuner.cli.tables import duration

    for line in would.skipped:
        print(f"warning: {line}")
    if would.plan is None:
        print(f"its plan is made by the worker: {would.reason}")
        return
    plan = would.plan
    print(
        f"sampler {plan.sampler}: {plan.trials} trials, engine starts at most {plan.engine_starts}, about {duration(plan.estimate_s)} "
        f"({plan.costs.source})"
    )


def submission_json(submission: Any) -> dict[str, Any]:
    """All fields; times are Unix seconds."""
    from dataclasses import asdict

    return asdict(submission)
