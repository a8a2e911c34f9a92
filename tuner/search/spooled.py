"""Windows that runs of this machine kept while the database was away, and that nobody has stored since: their process was killed, or gave
up waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from storage.base import NotFound, Storage
from storage.records import Measurement, Study
from tuner.core.errors import StudyBusy
from tuner.search.lease import StudyLease
from tuner.trials.spool import Spool, flush_file, held, read_spool, spool_files, told


def store_what_was_kept(storage: Storage, folder: Path, say: Callable[[str], None]) -> None:
    """Studies that somebody runs alone are left for later: what is missing there is measured again. Raises StorageFault."""
    for path in spool_files(folder):
        kept = read_spool(path)
        try:
            study = storage.get_study_by_id(kept.study_id)
        except NotFound:
            continue
        if not kept.belongs_to(study):
            continue  # of another database
        stored = _of_a_worker(storage, path) if kept.shared else _alone(storage, folder, study)
        if stored is not None:
            say(f"study {study.name!r}: {told(stored)}")


def _of_a_worker(storage: Storage, path: Path) -> Sequence[Measurement | None] | None:
    """Of a study that several workers share, which may go on meanwhile: each line says under which claim it holds. None where the worker
    lives."""
    with held(path) as ours:
        return [now for _, now in flush_file(path, storage)] if ours else None


def _alone(storage: Storage, folder: Path, study: Study) -> Sequence[Measurement | None] | None:
    """None where somebody runs the study."""
    lease = StudyLease(storage, study)
    try:
        lease.claim()
    except StudyBusy:
        return None
    try:
        return [now for _, now in Spool(folder, study).flush(lease.fence(storage))]
    finally:
        lease.release()
