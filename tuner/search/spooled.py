"""Windows that runs of this machine kept while the database was away, and that nobody has stored since: their process was killed, or gave
up waiting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from storage.base import NotFound, Storage
from tuner.core.errors import StudyBusy
from tuner.search.lease import StudyLease
from tuner.trials.spool import Spool, read_spool, spool_files, told


def store_what_was_kept(storage: Storage, folder: Path, say: Callable[[str], None]) -> None:
    """Studies that somebody runs are left for later: what is missing there is measured again. Raises StorageFault."""
    for path in spool_files(folder):
        kept = read_spool(path)
        try:
            study = storage.get_study_by_id(kept.study_id)
        except NotFound:
            continue
        if not kept.belongs_to(study):
            continue  # of another database
        lease = StudyLease(storage, study)
        try:
            lease.claim()
        except StudyBusy:
            continue
        try:
            stored = [now for _, now in Spool(folder, study).flush(lease.fence(storage))]
        finally:
            lease.release()
        say(f"study {study.name!r}: {told(stored)}")
