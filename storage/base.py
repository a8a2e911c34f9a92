"""The storage contract. One conformance suite (tests/conformance/storage.py) runs over every implementation.

Thread safety: every method may be called from several threads and processes at once; each call is one transaction, and when it has
returned, its effect survives a crash of the caller. Trials are owned by the process that created them: nobody else changes them.
Records are immutable; "update" replaces named fields.

Errors: `StorageUnavailable` when the database cannot be reached or written, `NotFound` for an unknown id or name, `Conflict` when a unique
name is taken or a state change is not allowed (a finished trial never changes its state again; a FAIL trial never gets values),
`InvalidRecord` when a field holds what no database may keep (NaN or infinity, an unknown word, a negative count), `SchemaOutdated`
(names the command that upgrades), and `LeaseLost` (storage.guarded). `list_*` and `count_*` by the id of another record do not raise for an
unknown id: they return [] and 0. A row that cannot be read is a `DamagedRecord`. Lists of studies, recommendations, what was foreseen,
tokens and the audit trail leave it out and log it, so that one does not hide all others; lists of evidence raise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Unpack

from storage.guarded import GuardedStorage
from storage.quarantine_contract import QuarantineStorage
from storage.queue_contract import QueueStorage
from storage.records import (
    Actor,
    Answerable,
    ApiToken,
    AuditEntry,
    CapacityChanges,
    CapacityFilter,
    CapacityRun,
    CapacityState,
    CapacityWindow,
    Comparison,
    Environment,
    ForesightAnswer,
    Json,
    Lease,
    Measurement,
    Profile,
    PublicationState,
    Recommendation,
    RecommendationKey,
    Stage,
    Study,
    StudyContext,
    StudyFilter,
    StudyState,
    Trial,
    TrialState,
    Workload,
)
from storage.retention_contract import RetentionStorage
from storage.sharing_contract import SharingStorage


class StorageFault(Exception):
    """Base of the storage errors; each message is one line, "REASON; FIX" where something can be done about it."""

    def __init__(self, reason: str, fix: str | None = None) -> None:
        super().__init__(reason if fix is None else f"{reason}; {fix}")
        self.reason = reason
        self.fix = fix


class StorageUnavailable(StorageFault):
    pass


class NotFound(StorageFault):
    pass


class Conflict(StorageFault):
    pass


class SchemaOutdated(StorageFault):
    pass


class InvalidRecord(StorageFault):
    pass


class LeaseLost(StorageFault):
    pass


class ClaimLost(StorageFault):
    """Nothing was written: the claim under which it was to be is in other hands."""


class DamagedRecord(InvalidRecord):
    """A row that this code did not write so: text that is no JSON, an unknown word, a value of another type."""


class Storage(QueueStorage, SharingStorage, QuarantineStorage, RetentionStorage, GuardedStorage):
    """Studies, trials, measurements, profiles, comparisons, recommendations, and who may publish them; the queue of studies to run;
    sizes and retention."""

    # studies
    @abstractmethod
    def create_study(self, study: Study) -> Study:
        """Store a new study. Raises Conflict if the name exists."""

    @abstractmethod
    def get_study(self, name: str) -> Study:
        """Raises NotFound."""

    @abstractmethod
    def get_study_by_id(self, study_id: int) -> Study:
        """Raises NotFound."""

    @abstractmethod
    def list_studies(self, *, limit: int = 100, offset: int = 0, **wanted: Unpack[StudyFilter]) -> Sequence[Study]:
        """Newest first."""

    @abstractmethod
    def count_studies(self, **wanted: Unpack[StudyFilter]) -> int: ...

    @abstractmethod
    def contexts_of(self, study_ids: Sequence[int]) -> dict[int, Sequence[StudyContext]]:
        """What the trials of several studies ran on; every id is a key."""

    @abstractmethod
    def list_accelerators(self) -> Sequence[str]:
        """Those that something was measured on, by name."""

    @abstractmethod
    def update_study(
        self, study_id: int, *, state: StudyState | None = None, engine_starts: int | None = None, cost: Json | None = None
    ) -> Study: ...

    # people's changes of a study; each is written to the audit trail in the same transaction, and what changes nothing is not
    @abstractmethod
    def rename_study(self, study_id: int, name: str, *, by: Actor) -> Study:
        """Also in its recommendations, and in Optuna's table. Raises NotFound, and Conflict where the name is taken."""

    @abstractmethod
    def label_study(self, study_id: int, *, tags: Sequence[str] | None = None, archived: bool | None = None, by: Actor) -> Study:
        """Replace the tags, archive or restore; None leaves as it is. Raises NotFound."""

    @abstractmethod
    def delete_study(self, study_id: int, *, by: Actor) -> None:
        """Delete the study with all that belongs to it (trials, measurements, ...). The audit trail gets an entry for it and for each of
        its recommendations. Raises NotFound."""

    # who runs a study
    @abstractmethod
    def get_lease(self, study_id: int) -> Lease | None:
        """None where nobody holds the study."""

    @abstractmethod
    def swap_lease(self, study_id: int, held: str | None, lease: Lease | None) -> bool:
        """Put `lease` in the place of the one with the token `held` (None: of no lease at all); a `lease` of None removes it.

        One conditional statement: of any number of callers at once that name the same `held`, exactly one gets True. False where the
        study is in other hands, and then nothing changed. Raises NotFound for an unknown study.
        """

    # environments and workloads: content-addressed, storing twice is a no-op
    @abstractmethod
    def put_environment(self, environment: Environment) -> None: ...

    @abstractmethod
    def get_environment(self, fingerprint: str) -> Environment: ...

    @abstractmethod
    def put_workload(self, workload: Workload) -> None: ...

    @abstractmethod
    def get_workload(self, content_hash: str) -> Workload: ...

    # trials
    @abstractmethod
    def create_trial(self, trial: Trial) -> Trial:
        """Store a trial (state WAITING or RUNNING). Raises Conflict if (study, number) exists, NotFound for an unknown study."""

    @abstractmethod
    def get_trial(self, trial_id: int) -> Trial: ...

    @abstractmethod
    def list_trials(
        self,
        study_id: int,
        *,
        state: TrialState | None = None,
        stage: Stage | None = None,
        arm: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Sequence[Trial]:
        """In order of number."""

    @abstractmethod
    def count_trials(self, study_id: int) -> dict[TrialState, int]: ...

    @abstractmethod
    def count_trials_of(self, study_ids: Sequence[int]) -> dict[int, dict[TrialState, int]]:
        """`count_trials` of several studies at once; every id is a key."""

    @abstractmethod
    def start_trial(self, trial_id: int, *, environment: str | None = None, effective: Json | None = None) -> Trial:
        """WAITING -> RUNNING (or fill in the fields of a RUNNING one). Raises Conflict from a finished state."""

    @abstractmethod
    def note_trial(self, trial_id: int, notes: Json) -> Trial:
        """Put these notes in the place of a trial's that is not finished. Raises NotFound, and Conflict for one that is."""

    @abstractmethod
    def finish_trial(
        self,
        trial_id: int,
        state: TrialState,
        *,
        values: Json | None = None,
        error_class: str | None = None,
        error_message: str | None = None,
        log_excerpt: str | None = None,
        notes: Json | None = None,
    ) -> Trial:
        """The only way to the states COMPLETE, PRUNED and FAIL. Raises Conflict: from a finished state; COMPLETE without values or with a
        non-finite one; FAIL with values or without an error class."""

    # measurements
    @abstractmethod
    def add_measurement(self, measurement: Measurement) -> Measurement:
        """Store a window. Raises NotFound for an unknown trial."""

    @abstractmethod
    def restore_measurement(self, measurement: Measurement, trial_created_at: float) -> Measurement | None:
        """Store a window that was kept elsewhere: once, however often this is called with it. None where it comes too late: its trial is
        gone (a restored backup gives its id to another), or has another valid window of that round."""

    @abstractmethod
    def invalidate_measurement(self, measurement_id: int, reason: str) -> Measurement: ...

    @abstractmethod
    def list_measurements(self, *, trial_id: int | None = None, study_id: int | None = None) -> Sequence[Measurement]:
        """By trial number, round, position. Exactly one of the two ids."""

    @abstractmethod
    def count_measurements_of(self, study_ids: Sequence[int]) -> dict[int, int]:
        """Windows of several studies at once, invalid ones included; every id is a key."""

    @abstractmethod
    def measured_by_trial(self, study_id: int) -> dict[int, tuple[int, float]]:
        """Trial id -> (windows, invalid ones included; their seconds together); trials without any are absent."""

    # profiles
    @abstractmethod
    def add_profile(self, profile: Profile) -> Profile: ...

    @abstractmethod
    def list_profiles(self, *, trial_id: int | None = None, study_id: int | None = None) -> Sequence[Profile]: ...

    # comparisons and recommendations
    @abstractmethod
    def replace_comparisons(self, study_id: int, comparisons: Sequence[Comparison]) -> Sequence[Comparison]:
        """Replace all comparisons of the study in one transaction."""

    @abstractmethod
    def list_comparisons(self, study_id: int) -> Sequence[Comparison]: ...

    @abstractmethod
    def add_recommendation(self, recommendation: Recommendation) -> Recommendation: ...

    @abstractmethod
    def get_recommendation(self, recommendation_id: int) -> Recommendation: ...

    @abstractmethod
    def get_recommendations(self, recommendation_ids: Sequence[int]) -> Sequence[Recommendation]:
        """Those of the ids that exist, in the order of the ids. This is one query, so give few ids."""

    @abstractmethod
    def list_recommendations(
        self,
        *,
        study_id: int | None = None,
        model: str | None = None,
        accelerator: str | None = None,
        text: str | None = None,
        publication: PublicationState | None = None,
        include_withdrawn: bool = False,
        limit: int = 100,
        offset: int = 0,
    ) -> Sequence[Recommendation]:
        """Newest first. `text` stands in the model, the objective or the name of the study, one of its tags or of the workload, in any
        case. `publication`: only in this state; "withdrawn" includes them."""

    @abstractmethod
    def list_answerable(self, limit: int = 1000) -> Sequence[Answerable]:
        """What may be asked with an exact answer, each once; without recommendations that are withdrawn or of nothing."""

    @abstractmethod
    def list_recommendation_keys(
        self,
        *,
        model: str | None = None,
        accelerators: Sequence[str] | None = None,
        device_count: int | None = None,
        limit: int = 1000,
    ) -> Sequence[RecommendationKey]:
        """Newest first, without withdrawn ones. Give a model, accelerators or both: then the work does not grow with unrelated studies."""

    @abstractmethod
    def mark_recommendation(self, recommendation_id: int, *, published: bool, by: Actor) -> Recommendation:
        """Publish or withdraw; a change is written to the audit trail in the same transaction. Raises NotFound."""

    # what was foreseen: content-addressed by what it depends on, storing twice is a no-op
    @abstractmethod
    def put_foresight(self, answers: Sequence[ForesightAnswer]) -> None:
        """Store those whose keys are not there yet, in one transaction."""

    @abstractmethod
    def find_foresight(self, keys: Sequence[str]) -> dict[str, ForesightAnswer]:
        """By key; keys that are not there are left out."""

    @abstractmethod
    def list_foresight(
        self, *, kind: str, model: str, accelerators: Sequence[str] | None = None, device_count: int | None = None, limit: int = 1000
    ) -> Sequence[ForesightAnswer]:
        """Newest first. `accelerators` None: on any."""

    # searches for the highest load
    @abstractmethod
    def create_capacity_run(self, run: CapacityRun) -> CapacityRun:
        """Raises NotFound for an unknown workload."""

    @abstractmethod
    def update_capacity_run(self, run_id: int, *, state: CapacityState, **changes: Unpack[CapacityChanges]) -> CapacityRun:
        """Raises NotFound; InvalidRecord for FOUND without an edge and its interval."""

    @abstractmethod
    def get_capacity_run(self, run_id: int) -> CapacityRun:
        """Raises NotFound."""

    @abstractmethod
    def list_capacity_runs(self, *, limit: int = 100, offset: int = 0, **only: Unpack[CapacityFilter]) -> Sequence[CapacityRun]:
        """Newest first."""

    @abstractmethod
    def add_capacity_window(self, window: CapacityWindow) -> CapacityWindow:
        """Raises NotFound for an unknown run, Conflict where the run has this number."""

    @abstractmethod
    def list_capacity_windows(self, run_id: int) -> Sequence[CapacityWindow]:
        """By number."""

    # API tokens; each change is written to the audit trail in the same transaction
    @abstractmethod
    def add_token(self, token: ApiToken, *, by: Actor) -> ApiToken:
        """Raises Conflict if a token of this name is not revoked."""

    @abstractmethod
    def rotate_token(self, token: ApiToken, *, old_until: float, by: Actor) -> ApiToken:
        """Store the successor of the token with its name, which is revoked from `old_until` (Unix seconds) on, as are tokens that earlier
        rotations left to live longer. Raises NotFound."""

    @abstractmethod
    def revoke_token(self, name: str, *, by: Actor) -> Sequence[ApiToken]:
        """Revoke at once all tokens of this name, rotated ones that still live included. Raises NotFound if there is none."""

    @abstractmethod
    def get_token(self, key: str) -> ApiToken:
        """By the public key part; also a revoked or expired one. Raises NotFound."""

    @abstractmethod
    def list_tokens(self) -> Sequence[ApiToken]:
        """Oldest first, revoked ones included."""

    @abstractmethod
    def list_audit(self, *, kind: str | None = None, subject: str | None = None, limit: int = 100, offset: int = 0) -> Sequence[AuditEntry]:
        """Newest first."""

    @abstractmethod
    def recommendations_version(self) -> str:
        """A value that changes whenever a recommendation is added, published, withdrawn or deleted, or something was foreseen. Cheap to
        read, however much is stored.

        It misses changes made by other means than this interface, and on PostgreSQL the later commit of two recommendations added in the
        same moment. So a cache keyed on it also has to let its entries expire.
        """

    # the database itself
    @abstractmethod
    def check(self) -> dict[str, Any]:
        """{"url" (password hidden), "dialect", "revision", "head", "ok"}. Raises StorageUnavailable."""

    @abstractmethod
    def damage(self) -> str | None:
        """What is wrong with the database file, None where nothing is. Reads all of it: seconds for a large one. On PostgreSQL always None:
        its server looks after that."""

    @abstractmethod
    def close(self) -> None: ...
