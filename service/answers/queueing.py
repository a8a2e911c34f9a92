"""Putting a study into the queue, and taking it out: who may, and how many."""

from __future__ import annotations

from dataclasses import dataclass

from service.web.auth import SCOPE_MANAGE
from service.web.errors import Problem
from service.web.settings import ServiceSettings
from storage.base import Conflict, Storage
from storage.queue_records import ENDED, Submission, SubmissionState
from storage.records import Json
from tuner.fleet.allowed import OF_A_SUBMISSION
from tuner.fleet.dry_run import DryRun
from tuner.fleet.requirements import implied
from tuner.setup.config import StudyConfig

OPEN = frozenset(SubmissionState) - ENDED


@dataclass(frozen=True)
class Sender:
    """Who asks: the name of a token, and whether it may do so to what others submitted."""

    name: str
    manages: bool

    @classmethod
    def of(cls, name: str, scopes: frozenset[str]) -> Sender:
        return cls(name, SCOPE_MANAGE in scopes)


@dataclass(frozen=True)
class Wish:
    """What is asked for beside the study itself."""

    requirements: Json
    priority: int = 0
    webhook: str | None = None
    workers: int = 1


def enqueue(storage: Storage, settings: ServiceSettings, found: DryRun, wish: Wish, sender: Sender) -> Submission:
    """The stored submission; the one that is there already where the same token sends the same once more. A token's studies are its team's.

    Raises what check_wish raises, Problem where it has too many in the queue, Conflict for a name that is taken.
    """
    check_wish(settings, wish, sender)
    asked = Submission(
        study=found.config.study,
        config=_settings(found.config),
        submitted_by=sender.name,
        priority=wish.priority,
        team=sender.name,
        requirements={**implied(found.config), **wish.requirements},
        webhook=wish.webhook,
        workers=wish.workers,
    )
    there = next(iter(storage.list_submissions(study=asked.study, states=OPEN, limit=1)), None)
    if there is not None:
        if (there.submitted_by, there.config) == (asked.submitted_by, asked.config):
            return there
        raise Conflict(f"a study {asked.study!r} is in the queue", "choose another name")
    counts = storage.count_submissions(team=sender.name)
    if sum(counts[state] for state in OPEN) >= settings.most_submissions:
        raise Problem(429, f"{settings.most_submissions} studies of {sender.name} are in the queue; wait for one, or cancel one")
    return storage.submit(asked)


def may_resume(storage: Storage, study: str, sender: Sender) -> None:
    """Raises Problem for a study that the sender did not submit: its trials are somebody else's chips."""
    last = next(iter(storage.list_submissions(study=study, limit=1)), None)
    if not sender.manages and (last is None or last.submitted_by != sender.name):
        raise Problem(403, f"study {study!r} was not submitted by this token; to go on with it takes the scope {SCOPE_MANAGE}")


def check_wish(settings: ServiceSettings, wish: Wish, sender: Sender) -> None:
    """Raises Problem for a priority that is not theirs to give, BadInput for a webhook that may not be called."""
    _may_have(wish.priority, sender)
    if wish.webhook is not None:
        settings.webhook_hosts.check(wish.webhook)


def _settings(config: StudyConfig) -> Json:
    """What was given: what is left open is for the worker's machine to decide."""
    return {name: value for name, value in config.to_json().items() if name in config.model_fields_set & OF_A_SUBMISSION}


def cancel(storage: Storage, submission_id: int, sender: Sender, reason: str) -> Submission:
    """Raises NotFound, Conflict for one that has ended, Problem for somebody else's."""
    _is_theirs(storage, submission_id, sender)
    return storage.cancel_submission(submission_id, by=sender.name, reason=reason)


def prioritise(storage: Storage, submission_id: int, priority: int, sender: Sender, reason: str) -> Submission:
    """Raises NotFound, Conflict for one that does not wait any more, Problem for somebody else's and for a priority that is not theirs to
    give."""
    _may_have(priority, sender)
    _is_theirs(storage, submission_id, sender)
    return storage.prioritise_submission(submission_id, priority, by=sender.name, reason=reason)


def _may_have(priority: int, sender: Sender) -> None:
    if priority > 0 and not sender.manages:
        raise Problem(403, f"priority: above 0 it takes a token with the scope {SCOPE_MANAGE}")


def _is_theirs(storage: Storage, submission_id: int, sender: Sender) -> None:
    found = storage.get_submission(submission_id)
    if not sender.manages and found.submitted_by != sender.name:
        raise Problem(403, f"submission {submission_id} is another token's; it takes the scope {SCOPE_MANAGE}")
