"""Beginning a study or taking it up again: the name is free or resumed with the same settings, and nobody else runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from storage.base import Conflict, LeaseLost, NotFound, Storage, StorageFault
from storage.records import Json, Lease, Study, StudyState
from tuner.core.errors import BadInput, Interrupted, StorageError, StudyBusy, StudyTaken, TunerError
from tuner.core.factors import LONG_PREFILL
from tuner.search.lease import StudyLease
from tuner.setup.config import STUDY_SETTINGS
from tuner.setup.models import local_revision
from tuner.setup.stored_study import REVISION, Resolved, StoredStudy, setting_default, stored_config
from tuner.setup.study_setup import StudySetup
from tuner.trials.optuna_record import GOAL_ATTRIBUTE, LEASE_ATTRIBUTE, OptunaRecord

DELETED = "it was deleted while it ran; begin it anew without --resume"


@dataclass
class OpenStudy:
    """A study that this process holds, or works on."""

    study: Study
    record: OptunaRecord
    lease: StudyLease | None  # None: of a worker that joined the process that holds it
    to_undo: ExitStack

    def check(self) -> None:
        """Raises StudyTaken where another process has taken it. Cheap: it asks nobody."""
        if self.lease is not None:
            self.lease.check()

    def close(self) -> None:
        """Idempotent."""
        self.to_undo.close()


def open_study(setup: StudySetup, storage: Storage, existing: Study | None, *, shared: bool = False) -> OpenStudy:
    """Take hold of `existing`, which check_resumable has accepted, or create the study where it is None. On an error nothing stays held.
    `shared`: other workers may join.

    Raises BadInput where another process runs it or has just begun it, and Interrupted where the user stopped this.
    """
    study = _create(setup, storage) if existing is None else existing
    with ExitStack() as to_undo, _told_if_stopped(study, begun=existing is None):
        record = record_of(setup, study.name)
        to_undo.callback(record.close)
        lease = StudyLease(storage, study, shared=shared)
        lease.claim(_older_lease(record, study))
        to_undo.callback(lease.release)
        found = storage.get_study_by_id(study.id)  # as it is now that nobody else runs it
        if found.state is StudyState.COMPLETE and record.attribute(GOAL_ATTRIBUTE):
            record.set_attribute(GOAL_ATTRIBUTE, None)  # while it is still COMPLETE: a run that dies next has not reached this goal
        running = storage.update_study(study.id, state=StudyState.RUNNING)
        return OpenStudy(running, record, lease, to_undo.pop_all())


def record_of(setup: StudySetup, name: str) -> OptunaRecord:
    """Raises StorageUnavailable."""
    directions = [objective.direction for objective in setup.objectives]
    return OptunaRecord(setup.config.storage, name, directions, setup.space.distributions())


@contextmanager
def _told_if_stopped(study: Study, *, begun: bool) -> Iterator[None]:
    """Who stops the opening, or whose database fails meanwhile, is told that the study is there. It is RUNNING only from the claim on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise interrupted(study) from error
    except StorageFault as error:
        if not begun:
            raise
        fix = f"study {study.name!r} is begun: mend this and run the same command with --resume"
        raise type(error)(error.reason, fix if error.fix is None else f"{error.fix}; {fix}") from error


def interrupted(study: Study) -> Interrupted:
    return Interrupted(f"study {study.name!r} keeps what was measured; run the same command with --resume to go on")


def taken(storage: Storage, opened: OpenStudy, error: LeaseLost) -> TunerError:
    """What to say of a study that this process does not hold any more."""
    if _is_gone(storage, opened.study):
        return StorageError(f"study {opened.study.name!r}: {DELETED}")
    try:
        opened.check()
    except StudyTaken as told:
        return told
    return StudyTaken(str(error))


def loss(storage: Storage, study: Study, error: StorageFault) -> str:
    """Why the database failed us, and what can be done."""
    return DELETED if _is_gone(storage, study) else f"{error}; fix it and go on with --resume"


def _is_gone(storage: Storage, study: Study) -> bool:
    with suppress(StorageFault):
        return find_study(storage, study.name) is None
    return False


def _older_lease(record: OptunaRecord, study: Study) -> Lease | None:
    """Until schema 0002 the lease lay in an attribute of Optuna's study; a process of that version may still hold it."""
    found = record.attribute(LEASE_ATTRIBUTE)
    return None if found is None else Lease(study.id, **found)


def check_resumable(setup: StudySetup, existing: Study | None, *, resume: bool) -> None:
    """Raises BadInput naming --resume or the setting that differs."""
    name = setup.config.study
    if existing is None:
        if resume:
            raise BadInput(
                "is not in this database: nothing to resume",
                setting="study",
                value=repr(name),
                fix="drop --resume to begin it, or fix --study or --storage",
            )
        return
    if not resume:
        raise BadInput("exists", setting="study", value=repr(name), fix="add --resume to go on with it, or choose another --study")
    stored, ours = StoredStudy.from_record(existing), stored_config(setup.config.to_json(), resolved_of(setup))
    for key, setting in STUDY_SETTINGS.items():
        if not setting.resumable and stored.value(key) != ours.get(key, setting_default(key)):
            raise BadInput(
                f"was begun with {key} {_shown(stored.value(key))}, not {_shown(ours.get(key, setting_default(key)))}",
                setting="study",
                value=repr(name),
                fix="resume it with the same settings or choose another --study",
            )
    if stored.contrast.cold and not setup.space.contrast.cold:
        raise BadInput(
            f"was begun when {stored.contrast.noun} needed an engine for each level; now one engine changes it",
            setting="study",
            value=repr(name),
            fix="choose another --study",
        )
    for key, value in resolved_of(setup).model_dump(exclude={"factor_defaults", "compared_to", "compared_live"}).items():
        if getattr(stored.resolved, key) != value:
            what = (
                "workload: its requests are not those that the study was begun with" if key == "workload_hash" else f"{key} is now {value}"
            )
            raise BadInput(what, setting="study", value=f"{name!r}:", fix="restore them or choose another --study")


def resolved_of(setup: StudySetup) -> Resolved:
    """What the setup decided where the configuration left it open."""
    return Resolved(
        max_model_len=setup.engine.max_model_len,
        max_num_seqs=setup.engine.max_num_seqs,
        workload_hash=setup.workload.content_hash,
        factor_defaults=dict(setup.space.own_levels),
        compared_to=None if setup.space.contrast.of_arms else setup.space.contrast.baseline,
        compared_live=setup.space.contrast.name == LONG_PREFILL,
    )


def find_study(storage: Storage, name: str) -> Study | None:
    """None where there is no such study."""
    try:
        return storage.get_study(name)
    except NotFound:
        return None


def _create(setup: StudySetup, storage: Storage) -> Study:
    storage.put_workload(setup.workload)
    try:
        return storage.create_study(
            Study(
                name=setup.config.study,
                model=setup.config.model,
                config=stored_config(setup.config.to_json(), resolved_of(setup)),
                objective=setup.config.objective,
                model_features=_features(setup),
                state=StudyState.INTERRUPTED,  # until its lease is claimed: a process killed in between leaves no running study
            )
        )
    except Conflict as error:
        raise StudyBusy(
            "was begun by another process just now", setting="study", value=repr(setup.config.study), fix="choose another --study"
        ) from error


def _features(setup: StudySetup) -> Json:
    """Of the model, with the revision of its files where that is known: another one is another model."""
    revision = local_revision(setup.config.model)
    return {**setup.model.features, **({} if revision is None else {REVISION: revision})}


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
