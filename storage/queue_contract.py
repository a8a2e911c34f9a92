"""The queue's part of the storage contract (storage.base.Storage). All times and all leases go by the database's clock.

Every change of a submission's state writes one event in the same transaction. Holders name the token of their claim: one whose lease ran
out and was taken over changes nothing any more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Unpack

from storage.queue_records import (
    Claim,
    FleetWorker,
    Submission,
    SubmissionEvent,
    SubmissionFilter,
    SubmissionState,
)


class QueueStorage(ABC):
    """Submissions, their events, limits of teams, and workers."""

    # submissions
    @abstractmethod
    def submit(self, submission: Submission) -> Submission:
        """Store a new one, QUEUED whatever it says. Raises Conflict where one of this study is QUEUED, RUNNING or CANCELLING."""

    @abstractmethod
    def get_submission(self, submission_id: int) -> Submission:
        """Raises NotFound."""

    @abstractmethod
    def list_submissions(self, *, limit: int = 100, offset: int = 0, **wanted: Unpack[SubmissionFilter]) -> Sequence[Submission]:
        """Newest first."""

    @abstractmethod
    def count_submissions(self, **wanted: Unpack[SubmissionFilter]) -> dict[SubmissionState, int]:
        """By state; every state is a key."""

    @abstractmethod
    def claim_submission(self, claim: Claim) -> Submission | None:
        """The next study for this worker: of the highest priority, then the oldest, whose requirements fit, whose team is below its limit;
        QUEUED, or RUNNING with a lease that ran out. None where there is none.

        One transaction in which each step is conditional: of any number of workers at once one gets it. On the way, CANCELLING ones of dead
        workers become CANCELLED, and those that `most_attempts` workers died of FAILED.
        """

    @abstractmethod
    def beat_submission(self, submission_id: int, token: str, lease_s: float) -> SubmissionState | None:
        """Renew the lease. RUNNING or CANCELLING, as it now is; None where the study is in other hands or ended."""

    @abstractmethod
    def release_submission(self, submission_id: int, token: str, state: SubmissionState, reason: str | None = None) -> Submission:
        """Give back (QUEUED; CANCELLED where somebody cancelled meanwhile, with that reason) or end it. Raises Conflict where it is in
        other hands."""

    @abstractmethod
    def cancel_submission(self, submission_id: int, *, by: str, reason: str = "") -> Submission:
        """QUEUED -> CANCELLED, RUNNING -> CANCELLING; a CANCELLING one stays. Raises NotFound, and Conflict for one that ended."""

    @abstractmethod
    def prioritise_submission(self, submission_id: int, priority: int, *, by: str, reason: str = "") -> Submission:
        """Of one that is QUEUED; an event says from what to what. Raises NotFound, and Conflict for one that a worker has or that ended."""

    @abstractmethod
    def list_events(self, *, submission_id: int | None = None, after: int = 0, limit: int = 1000) -> Sequence[SubmissionEvent]:
        """Oldest first, those with an id above `after`; None: of all submissions."""

    @abstractmethod
    def take_notification(self, submission_id: int, event_id: int) -> bool:
        """True for exactly one of those who ask to tell the webhook of this event; False too where a later one was told."""

    # how many studies of a team run at once
    @abstractmethod
    def set_team_limit(self, team: str, studies: int | None) -> None:
        """None: no limit."""

    @abstractmethod
    def team_limits(self) -> dict[str, int]: ...

    # workers
    @abstractmethod
    def put_worker(self, worker: FleetWorker) -> None:
        """Store or renew what is known of it; its `seen_at` is now. Those not seen for a day are forgotten."""

    @abstractmethod
    def list_workers(self, *, seen_within_s: float | None = None) -> Sequence[FleetWorker]:
        """By name."""

    @abstractmethod
    def remove_worker(self, name: str) -> None:
        """Idempotent."""

    @abstractmethod
    def database_now(self) -> float:
        """Unix seconds by the clock that judges leases."""
