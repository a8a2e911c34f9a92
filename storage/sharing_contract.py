"""What several workers on one study need of the storage (storage.base.Storage): claims, and writes that hold only under a claim.

A claim is a row of a study with a key, a holder's token and a lease by the database's clock. Most keys name an engine group, one engine
start's worth of work; others are locks. A claim whose lease ran out is still its holder's until somebody else takes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from storage.queue_records import Claim, Fence, GroupClaim, GroupState, Submission

if TYPE_CHECKING:
    from storage.base import Storage
    from storage.records import Json, Measurement, Study, Trial


class SharingStorage(ABC):
    """Joining a submission, claims, and what must be given out once among workers: numbers of trials and of engine starts."""

    @abstractmethod
    def join_submission(self, claim: Claim) -> Submission | None:
        """A study that another worker runs and that has a place left for this one: of the highest priority, then the oldest, whose
        requirements fit and whose worker is `like` this one. None where there is none.

        The worker has to be known (put_worker); it is put down as working on it, and counts until it is put down otherwise or was not seen
        for a lease. One transaction: of any number at the same instant no more join than there are places.
        """

    @abstractmethod
    def claim_group(self, study_id: int, group_key: str, *, worker: str, token: str, lease_s: float) -> bool:
        """Take a group that nobody took, or whose lease ran out before it was DONE. One conditional statement: exactly one gets it."""

    @abstractmethod
    def beat_groups(self, study_id: int, token: str, lease_s: float) -> int:
        """Renew the leases of the groups that this token holds and that are not DONE; how many."""

    @abstractmethod
    def end_group(self, study_id: int, group_key: str, token: str, *, done: bool) -> bool:
        """DONE, or given back. False where it is in other hands, and then nothing changed."""

    @abstractmethod
    def list_groups(self, study_id: int, *, state: GroupState | None = None) -> Sequence[GroupClaim]:
        """In the order in which they were first taken."""

    @abstractmethod
    def held_groups(self, study_id: int) -> Sequence[GroupClaim]:
        """Those that are CLAIMED and whose leases have not run out."""

    @abstractmethod
    def clear_groups(self, study_id: int) -> None:
        """Forget all claims: the study ended, or begins again."""

    @abstractmethod
    def fenced(self, fence: Callable[[], Fence | None]) -> Storage:
        """The same storage, whose writes hold only while the claim that `fence` names, if it names one, is still the token's: asked in the
        transaction of the write itself, which raises ClaimLost. Not to be closed; reads ask nothing."""

    @abstractmethod
    def create_trials(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        """Store WAITING trials of one study with the next free numbers, whatever theirs are: all or none. Raises what create_trial does."""

    @abstractmethod
    def get_trials(self, trial_ids: Sequence[int]) -> Sequence[Trial]:
        """Those of the ids that exist, by id."""

    @abstractmethod
    def measurements_of(self, trial_ids: Sequence[int]) -> Sequence[Measurement]:
        """Of several trials, in the order in which they were stored."""

    @abstractmethod
    def spend(self, study_id: int, *, engine_starts: int = 0, cost: Json | None = None) -> Study:
        """Add to what the study has taken so far; `cost`: phase -> seconds. Raises NotFound."""
