"""What the queue of studies holds: plain frozen records like those of storage.records.

Times are Unix seconds by the database's clock; durations carry their unit in the name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict

from storage.records import Json


class SubmissionState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"  # its worker finishes the window that it is in, and stops
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


ENDED = frozenset({SubmissionState.COMPLETE, SubmissionState.FAILED, SubmissionState.CANCELLED})  # never changes again


class GroupState(StrEnum):
    CLAIMED = "CLAIMED"
    DONE = "DONE"


@dataclass(frozen=True)
class Submission:
    """A study that somebody wants run. `requirements`: {"accelerator", "chips", "versions"}, each optional (tuner.fleet.requirements).

    `attempts` counts the claims whose worker has not given the study back: those that died, and the one that holds it.
    """

    study: str  # its name
    config: Json  # a study file's settings, as they were given
    submitted_by: str
    id: int = 0
    state: SubmissionState = SubmissionState.QUEUED
    priority: int = 0  # higher first, then the oldest
    team: str | None = None
    requirements: Json = field(default_factory=dict)
    webhook: str | None = None
    submitted_at: float = 0.0
    claimed_by: str | None = None  # the worker that has it, or had it last
    heartbeat_at: float | None = None
    attempts: int = 0
    reason: str | None = None  # why it failed, was cancelled or given back
    finished_at: float | None = None
    workers: int = 1  # at most so many work on the study at once


class SubmissionFilter(TypedDict, total=False):
    """Which submissions a list is of; None and absent are all."""

    states: frozenset[SubmissionState] | None
    team: str | None
    study: str | None  # its name


@dataclass(frozen=True)
class SubmissionEvent:
    """One change of a submission's state; `what` is the new state. Events are only ever added."""

    submission_id: int
    what: SubmissionState
    by: str  # of a person, token or worker
    id: int = 0  # grows with time: "after this one" follows them
    at: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Claim:
    """What a worker says when it asks for work. `token` is new for each claim; `fits` judges a submission's requirements."""

    worker: str
    token: str
    lease_s: float  # without a heartbeat for so long, another may take the study up
    fits: Callable[[Json], bool] = lambda _requirements: True
    most_attempts: int = 5  # a study that so many workers died of is FAILED
    besides: frozenset[int] = frozenset()  # submissions that it does not want now
    only: int | None = None  # the one submission that it wants
    like: Callable[[FleetWorker], bool] = lambda _worker: True  # of the worker that runs a study: whether this one may join it


@dataclass(frozen=True)
class FleetWorker:
    """A worker as it was last seen. `state`: "idle", "running" or "draining"."""

    name: str
    host: str
    accelerator: str  # as an environment's
    chips: int
    versions: Json  # package -> version
    state: str = "idle"
    submission_id: int | None = None
    started_at: float = 0.0
    seen_at: float = 0.0


@dataclass(frozen=True)
class GroupClaim:
    """Who measures one engine group of a study. `group_key`: which one, as canonical JSON (tuner.search.sharing)."""

    study_id: int
    group_key: str
    worker: str
    state: GroupState = GroupState.CLAIMED
    heartbeat_at: float = 0.0
    lease_until: float = 0.0
    attempts: int = 1  # holders so far, those that died included
    id: int = 0


@dataclass(frozen=True)
class Fence:
    """The claim under which a write holds."""

    study_id: int
    group_key: str
    token: str


TOLD = "told"  # among a quarantine's details: which of its events others were told of


@dataclass(frozen=True)
class Quarantine:
    """A host that claims nothing until it is released. `by`: the worker or person that put it there; `details`: what was found, and
    TOLD."""

    host: str
    reason: str
    by: str
    id: int = 0
    since: float = 0.0
    details: Json = field(default_factory=dict)
    released_at: float | None = None
    released_by: str | None = None
    release_reason: str | None = None


@dataclass(frozen=True)
class HostWindow:
    """A measured window, with what it has to have in common with others to be compared. `engine_start` counts within the study."""

    host: str
    study_id: int
    engine_start: int | None
    launcher: str | None
    model: str
    workload_hash: str
    environment: str | None
    requested: Json
    started_at: float
    metrics: Json
