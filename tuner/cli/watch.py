"""`tuner watch`: what happens to a submitted study, until it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tuner.cli.options import examples, reading, storage_option
from tuner.cli.queue import required_submission

if TYPE_CHECKING:
    from storage.base import Storage
    from storage.queue_records import Submission

EVERY_S = 2.0


@click.command(epilog=examples("tuner watch 7", "tuner watch nightly && tuner recommend nightly"))
@click.argument("submission", metavar="ID|STUDY")
@storage_option
@click.pass_context
def watch(context: click.Context, /, submission: str, storage: str) -> None:
    """Print each change of the submission and each trial that ends. Exit code 0 where the study is complete, 1 where it failed or was
    cancelled. Ctrl-C stops watching and nothing else."""
    from storage.queue_records import ENDED, SubmissionState

    with reading(storage) as opened:
        asked = required_submission(opened, submission)
        after, told = 0, 0
        parts: set[tuple[str, str]] = set()
        while True:
            found = opened.get_submission(asked.id)  # before its events: none of an ended one is missed
            after = _events(opened, asked.id, after)
            parts = _parts(opened, found, parts)
            told = _trials(opened, asked.study, told)
            if found.state in ENDED:
                break
            time.sleep(EVERY_S)
    context.exit(0 if found.state is SubmissionState.COMPLETE else 1)


def _events(storage: Storage, submission_id: int, after: int) -> int:
    from tuner.core.numbers import utc

    for event in storage.list_events(submission_id=submission_id, after=after):
        print(f"{utc(event.at)}  {event.what:10}  {event.by}" + (f": {event.reason}" if event.reason else ""), flush=True)
        after = event.id
    return after


def _parts(storage: Storage, submission: Submission, told: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """What each worker does now, where several work on it; printed where it is new."""
    from tuner.core.numbers import utc
    from tuner.fleet.parts import parts_of

    now = {(part.worker, part.what): part.heard_of for part in parts_of(storage, submission)}
    for (worker, what), heard_of in now.items():
        if (worker, what) not in told:
            print(f"{utc(heard_of)}  {'-':10}  {worker} {what}", flush=True)
    return set(now)


def _trials(storage: Storage, study: str, told: int) -> int:
    """How many trials have been told of."""
    from storage.records import FINISHED
    from tuner.core.numbers import utc
    from tuner.search.opening import find_study

    found = find_study(storage, study)
    if found is None:
        return told
    ended = sorted(
        (t for t in storage.list_trials(found.id) if t.state in FINISHED), key=lambda trial: (trial.finished_at or 0.0, trial.id)
    )
    for trial in ended[told:]:
        what = f"trial {trial.number}: page size {trial.block_size}, budget {trial.max_num_batched_tokens}, {trial.arm}"
        print(
            f"{utc(trial.finished_at or 0.0)}  {trial.state:10}  {what}" + (f": {trial.error_message}" if trial.error_message else ""),
            flush=True,
        )
    return len(ended)
