"""What the queue's pages show of a submission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.base import NotFound, Storage
from storage.queue_records import Submission, SubmissionState
from storage.records import FINISHED

_CSS = {
    SubmissionState.QUEUED: "waiting",
    SubmissionState.RUNNING: "running",
    SubmissionState.CANCELLING: "pruned",
    SubmissionState.COMPLETE: "complete",
    SubmissionState.FAILED: "fail",
    SubmissionState.CANCELLED: "interrupted",
}


@dataclass(frozen=True)
class QueueRow:
    """`begun`: the study is in the database; `finished` of its `trials` have ended. `needs`: what a worker has to have, in words."""

    item: Submission
    css: str
    needs: str
    begun: bool
    finished: int = 0
    trials: int = 0


def queue_rows(storage: Storage, found: Sequence[Submission]) -> list[QueueRow]:
    return [row_of(storage, item) for item in found]


def row_of(storage: Storage, item: Submission) -> QueueRow:
    needs = ", ".join(f"{name} {_text(value)}" for name, value in item.requirements.items() if value) or "any worker"
    css = _CSS[item.state]
    if item.state is SubmissionState.QUEUED and not item.attempts:
        return QueueRow(item, css, needs, begun=False)
    try:
        study = storage.get_study(item.study)
    except NotFound:
        return QueueRow(item, css, needs, begun=False)
    counts = storage.count_trials(study.id)
    return QueueRow(item, css, needs, True, sum(counts[state] for state in FINISHED), sum(counts.values()))


def _text(value: object) -> str:
    return ", ".join(f"{name} {text}" for name, text in value.items()) if isinstance(value, dict) else str(value)
