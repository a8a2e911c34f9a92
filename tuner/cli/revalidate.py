"""`tuner revalidate`: published recommendations, measured again where what they were measured with has changed."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import (
    engine_python_option,
    examples,
    json_option,
    logdir_option,
    operator,
    print_json,
    reading,
    storage_option,
    writing,
)

if TYPE_CHECKING:
    from storage.base import Storage
    from storage.records import Recommendation
    from tuner.setup.config import StudyConfig
    from tuner.upkeep.revalidate import Outcome, Present

    type Begin = Callable[[StudyConfig, Recommendation, Mapping[str, str]], str | None]

EPILOG = examples(
    "tuner revalidate --dry-run                             # what would be measured, and why",
    "tuner revalidate                                       # measure it here, and withdraw or renew",
    "tuner revalidate --submit                              # by workers of the queue; call it again to conclude",
    "tuner revalidate --version vllm=0.33.0 --dry-run       # what another version would make stale",
)


@click.command(epilog=EPILOG)
@click.option("--dry-run", is_flag=True, help="Only list what would be measured, and what would be concluded.")
@click.option("--submit", is_flag=True, help="Put the studies into the queue; a later call concludes. For a schedule.")
@click.option("--model", metavar="NAME", help="Only recommendations for this model.")
@click.option(
    "--id", "only", type=click.IntRange(1, 2**31 - 1), multiple=True, metavar="ID", help="Only this recommendation; may be repeated."
)
@click.option(
    "--version",
    "given",
    multiple=True,
    metavar="PACKAGE=VERSION",
    help="What is in use now, e.g. vllm=0.33.0; may be repeated.  [default: of the engine's Python, with --submit of the workers]",
)
@click.option("--older-than", metavar="TIME", help="Also what was measured longer ago, e.g. 90d.")
@engine_python_option
@logdir_option
@storage_option
@json_option
@click.pass_context
def revalidate(
    context: click.Context,
    /,
    *,
    dry_run: bool,
    submit: bool,
    given: tuple[str, ...],
    older_than: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure published recommendations again, in pairs against their runner-up and vLLM's defaults, where versions have changed.

    What no longer holds is withdrawn with the reason, what holds gets new evidence, and what is not clear stays as it is and is said.
    Exit code 1: something could not be measured.
    """
    from tuner.cli.interrupts import interruptible
    from tuner.core.ages import parse_age
    from tuner.upkeep.revalidate import Step, Ways, revalidate

    url, python = options["storage"], options["engine_python"]
    named = _versions(given)
    age_s = None if older_than is None else parse_age(older_than, "older-than")
    places = {"storage": url, "logdir": options["logdir"], **({} if python is None else {"engine_python": python})}
    with interruptible(), reading(url) if dry_run else writing(url) as storage:
        begin = None if dry_run else _submitting(storage) if submit else _running(storage)
        present = _present(storage, named, python, submit=submit, age_s=age_s)
        ways = Ways(operator(""), begin, places)
        outcomes = revalidate(storage, present, ways, only=options["only"], model=options["model"])
    if as_json:
        print_json({"dry_run": dry_run, "recommendations": [item.to_json() for item in outcomes]})
    else:
        _print(outcomes, dry_run)
    context.exit(1 if any(item.step is Step.FAILED for item in outcomes) else 0)


def _versions(texts: Sequence[str]) -> dict[str, str]:
    """Raises BadInput."""
    import re

    from tuner.core.errors import BadInput

    found: dict[str, str] = {}
    for text in texts:
        match = re.fullmatch(r"([A-Za-z][A-Za-z0-9_.-]{0,39})=([0-9A-Za-z.+!-]{1,50})", text)
        name = "" if match is None else match[1].replace("-", "_").lower()
        if match is None:
            raise BadInput("is no version", setting="version", value=repr(text), fix="write PACKAGE=VERSION, for instance vllm=0.33.0")
        if name in found:
            raise BadInput("is given twice", setting="version", value=match[1], fix="keep one")
        found[name] = match[2]
    return found


def _present(storage: Storage, named: Mapping[str, str], python: str | None, *, submit: bool, age_s: float | None) -> Present:
    from tuner.setup.models import local_revision
    from tuner.upkeep.present import of_this_machine, of_workers
    from tuner.upkeep.revalidate import Present

    unknown = "no worker of the queue that has it was seen of late" if submit else "this machine is another; run it there, or use --submit"
    found: Callable[[str, int], Mapping[str, str] | None] = of_workers(storage) if submit else cache(of_this_machine(python))
    if named:
        found, unknown = lambda _accelerator, _devices: named, ""
    return Present(found, unknown, local_revision, now=time.time(), max_age_s=age_s)


def _running(storage: Storage) -> Begin:
    """Measures here."""
    from tuner.core.errors import BadInput
    from tuner.search.opening import find_study
    from tuner.search.running import planned, run_plan
    from tuner.trials.progress import Progress

    def begin(config: StudyConfig, record: Recommendation, _versions: Mapping[str, str]) -> None:
        _say(f"recommendation {record.id} ({record.model}): study {config.study}")
        with planned(config, _say, resume=find_study(storage, config.study) is not None) as plan:
            outcome = run_plan(plan, Progress(listener=lambda _progress, line: _say(line) if line else None))
        if outcome.completed_trials == 0:
            raise BadInput(f"study {config.study}: no configuration could be measured", fix=f"see tuner show {config.study}")

    return begin


def _submitting(storage: Storage) -> Begin:
    """Puts it into the queue."""
    from tuner.upkeep.present import submitted

    return lambda config, record, versions: submitted(storage, config, record, versions, by=operator("").name)


def _print(outcomes: Sequence[Outcome], dry_run: bool) -> None:
    from tuner.upkeep.revalidate import Step

    for item in outcomes:
        if item.step is Step.CURRENT:
            continue
        print(f"recommendation {item.recommendation} ({item.model}): {item.step}" + (f": {item.told}" if item.told else ""))
        for reason in item.why:
            print(f"  because {reason}")
        if item.successor is not None:
            print(f"  renewed as recommendation {item.successor}")
    counts = Counter(item.step for item in outcomes)
    told = ", ".join(f"{count} {step}" for step, count in counts.items())
    print(f"{len(outcomes)} published: {told}" if outcomes else "nothing is published")
    if dry_run:
        print("nothing was measured or changed (--dry-run)")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
