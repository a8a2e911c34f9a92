"""Who works on which part of a submission's study just now."""

from __future__ import annotations

from dataclasses import dataclass

from storage.base import NotFound, Storage
from storage.queue_records import Submission, SubmissionState
from storage.records import Json
from tuner.core.factors import further
from tuner.search.sharing import CONCLUDING, key_of

_HELD = frozenset({SubmissionState.RUNNING, SubmissionState.CANCELLING, SubmissionState.QUEUED})


@dataclass(frozen=True)
class Part:
    """`what`: in words. `since`: when its worker was last heard of, Unix seconds."""

    worker: str
    what: str
    heard_of: float

    def to_json(self) -> Json:
        return {"worker": self.worker, "what": self.what, "heard_of": self.heard_of}


def parts_of(storage: Storage, submission: Submission) -> list[Part]:
    """[] for one that nobody shares, or that has ended."""
    if submission.workers == 1 or submission.state not in _HELD:
        return []
    try:
        study = storage.get_study(submission.study)
    except NotFound:
        return []
    claims = storage.held_groups(study.id)
    return [Part(claim.worker, words, claim.heartbeat_at) for claim in claims if (words := _words(claim.group_key))]


def _words(key: str) -> str:
    """ "" for a lock that is held for a moment."""
    found = key_of(key)
    if found is None:
        return "ends the study" if key == CONCLUDING else ""
    (block_size, factors), first_round = found
    return f"measures page size {block_size}{further(factors)}, rounds from {first_round + 1} on"
