"""Retention: what of old studies may go without changing a verdict, a recommendation or an answer.

Per request nothing is stored; what a window keeps beside its metrics are its details, and of a failed trial the end of the engine's log. Of
profiles the files go, and their summaries beside them; the row stays with what the profile said. A study that runs, or waits in the queue,
keeps everything.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from profiles.errors import ProfileError
from profiles.links import session_folder
from storage.base import Storage
from storage.queue_records import ENDED, SubmissionState
from storage.records import Json, Profile, PublicationState, Recommendation, Study, StudyState
from storage.retention_contract import NOTHING, PRUNED, Freed

# Keys of a window's details that a verdict, a recommendation, a report or a resumed search reads.
NEEDED = frozenset({"compilations", "launcher", "engine_start", "workload_hash", "phases", "output_digest", "simulated", "stopped"})
_PAGE = 500
_MISSING = "missing"


@dataclass(frozen=True)
class Age:
    """Unix seconds: what is older goes; None: nothing does."""

    requests_before: float | None = None
    profiles_before: float | None = None


@dataclass(frozen=True)
class Pruned:
    """`studies` that something went of. `files`: profile sessions, with their bytes. `kept`: studies that run, wait, or are published."""

    studies: int = 0
    details: Freed = NOTHING
    logs: Freed = NOTHING
    files: Freed = NOTHING
    busy: int = 0
    published: int = 0

    def to_json(self) -> Json:
        parts = {name: {"rows": item.rows, "bytes": item.bytes} for name, item in self.parts.items()}
        return {"studies": self.studies, **parts, "kept": {"running_or_queued": self.busy, "published": self.published}}

    @property
    def parts(self) -> dict[str, Freed]:
        return {"window_details": self.details, "log_excerpts": self.logs, "profile_files": self.files}


def prune(storage: Storage, age: Age, *, logdir: Path, keep_published: bool, dry_run: bool, now: float) -> Pruned:
    """Raises StorageFault, ProfileError where files cannot be removed; what was freed until then is freed."""
    published = {item.study_id for item in _published(storage)}
    found = Pruned()
    for study in _studies(storage):
        if _busy(storage, study):
            found = replace(found, busy=found.busy + 1)
            continue
        if keep_published and study.id in published:
            found = replace(found, published=found.published + 1)
            continue
        details = logs = files = Freed()
        if age.requests_before is not None and study.updated_at < age.requests_before:
            details = storage.drop_details(study.id, keep=NEEDED, dry_run=dry_run)
            logs = storage.drop_logs(study.id, dry_run=dry_run)
        if age.profiles_before is not None:
            files = _files(storage, study, age.profiles_before, logdir, dry_run=dry_run, now=now)
        touched = int(bool(details.rows or logs.rows or files.rows))
        found = replace(
            found, studies=found.studies + touched, details=found.details + details, logs=found.logs + logs, files=found.files + files
        )
    return found


def _published(storage: Storage) -> Iterator[Recommendation]:
    offset = 0
    while page := storage.list_recommendations(publication=PublicationState.PUBLISHED, limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def _studies(storage: Storage) -> Iterator[Study]:
    """As they are now, whatever is begun meanwhile."""
    found: list[Study] = []
    while page := storage.list_studies(limit=_PAGE, offset=len(found)):
        found += page
    yield from {study.id: study for study in found}.values()


def _busy(storage: Storage, study: Study) -> bool:
    if study.state is StudyState.RUNNING or storage.get_lease(study.id) is not None:
        return True
    return bool(storage.list_submissions(study=study.name, states=frozenset(SubmissionState) - ENDED, limit=1))


def _files(storage: Storage, study: Study, before: float, logdir: Path, *, dry_run: bool, now: float) -> Freed:
    """Whole sessions: one that has a younger profile stays."""
    sessions: dict[tuple[str, str], list[Profile]] = {}
    for item in storage.list_profiles(study_id=study.id):
        sessions.setdefault((item.run, item.session), []).append(item)
    freed = Freed()
    for (run, session), items in sessions.items():
        there = [item for item in items if item.status != _MISSING and PRUNED not in item.quality]
        if not there or any(item.created_at >= before for item in items):
            continue
        folder = _folder(logdir, run, session)
        if folder is None:  # another machine's: whoever has the files removes them
            continue
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if not dry_run:
            for item in there:  # first, so that nobody looks for what goes
                storage.note_profile(item.id, {PRUNED: now})
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise ProfileError(f"{folder}: cannot be removed ({error.strerror}); remove it by hand") from error
        freed += Freed(len(there), size)
    return freed


def _folder(logdir: Path, run: str, session: str) -> Path | None:
    """The session's folder, None where there is none below the logdir. Links are not followed: what they lead to is not ours."""
    root = logdir.expanduser().resolve()
    try:
        folder = session_folder(root, run, session)
    except ProfileError:
        return None
    if not folder.is_dir() or folder.is_symlink() or folder.resolve() != folder:
        return None
    return folder
