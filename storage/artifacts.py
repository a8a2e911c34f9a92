"""An immutable run directory: log excerpts, results and profile summaries as files beside the database, each with its SHA-256.

Layout: `<root>/<run>/<name>` and `<root>/<run>/manifest.jsonl`, one JSON object a line: {"name", "sha256", "size_bytes", "stored_at"}.
A file counts once its line is in the manifest; a crash between the two leaves a file that nobody reads and that the next `put` replaces.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.base import Conflict, InvalidRecord, NotFound, StorageFault, StorageUnavailable

MANIFEST = "manifest.jsonl"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,199}")  # no separator, no leading dot: neither ".." nor a hidden file


class ArtifactCorrupt(StorageFault):
    """A stored file is missing or no longer what was stored."""


@dataclass(frozen=True)
class Artifact:
    """One line of the manifest; `stored_at` is Unix seconds."""

    name: str
    sha256: str
    size_bytes: int
    stored_at: float


class RunDirectory:
    """The artifacts of one run. Threads and processes may share it: writers take turns through a lock on the manifest.

    Every method raises StorageUnavailable where the disk fails.
    """

    def __init__(self, root: Path, run: str) -> None:
        """Touches nothing yet. Raises InvalidRecord for a run name that is not one plain folder name."""
        if not _PART.fullmatch(run):
            raise InvalidRecord(f"run {run!r}: use letters, digits and _ . + = - only")
        self.path = root / run

    def put(self, name: str, data: bytes) -> Artifact:
        """Store bytes under a name such as "trial-3/log.txt"; storing the same bytes again changes nothing.

        When it has returned, the file survives a crash. Raises Conflict where the name holds other bytes, InvalidRecord for a name that
        would leave the directory.
        """
        target = self._target(name)
        digest = hashlib.sha256(data).hexdigest()
        with _disk_errors(target), self._locked():
            for artifact in self._read():
                if artifact.name == name:
                    if artifact.sha256 != digest:
                        raise Conflict(f"artifact {name!r} of {self.path.name}: stored already with other content; choose a new name")
                    return artifact
            self._require_inside(target.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_durably(target, data)
            artifact = Artifact(name, digest, len(data), time.time())
            self._append(artifact)
        return artifact

    def get(self, name: str) -> bytes:
        """The stored bytes. Raises NotFound, and ArtifactCorrupt where they are not what was stored."""
        target = self._target(name)
        with _disk_errors(target):
            artifact = next((artifact for artifact in self._read() if artifact.name == name), None)
            if artifact is None:
                raise NotFound(f"artifact {name!r} of {self.path.name}: no such artifact")
            return self._checked(artifact)

    def entries(self) -> Sequence[Artifact]:
        """In the order in which they were stored; empty where the run has none."""
        with _disk_errors(self.path):
            return self._read()

    def verify(self) -> Sequence[str]:
        """One line for each artifact that is missing or changed; empty where all is well."""
        problems: list[str] = []
        with _disk_errors(self.path):
            for artifact in self._read():
                try:
                    self._checked(artifact)
                except ArtifactCorrupt as error:
                    problems.append(str(error))
        return problems

    def _target(self, name: str) -> Path:
        parts = name.split("/")
        if name == MANIFEST or not all(_PART.fullmatch(part) for part in parts):
            raise InvalidRecord(f"artifact {name!r}: use a relative path of letters, digits and _ . + = -")
        return self.path.joinpath(*parts)

    def _require_inside(self, folder: Path) -> None:
        """Names are harmless; a link inside the directory may still lead out of it."""
        if not folder.resolve().is_relative_to(self.path.resolve()):
            raise InvalidRecord(f"artifact folder {folder}: a link leads out of {self.path}; remove the link")

    def _checked(self, artifact: Artifact) -> bytes:
        target = self._target(artifact.name)
        self._require_inside(target.parent)
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise ArtifactCorrupt(f"artifact {artifact.name!r} of {self.path.name}: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != artifact.sha256:
            raise ArtifactCorrupt(f"artifact {artifact.name!r} of {self.path.name}: its content is not what was stored")
        return data

    def _read(self) -> Sequence[Artifact]:
        try:
            lines = (self.path / MANIFEST).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        try:
            return [Artifact(**json.loads(line)) for line in lines[:-1]]  # what follows the last newline was cut off by a crash
        except (ValueError, TypeError) as error:
            raise ArtifactCorrupt(f"{self.path / MANIFEST}: a line is not an artifact: {error}") from error

    def _append(self, artifact: Artifact) -> None:
        """Called with the lock held. A line that a crash cut off goes first."""
        line = json.dumps(asdict(artifact)).encode() + b"\n"
        with (self.path / MANIFEST).open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / MANIFEST).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _write_durably(target: Path, data: bytes) -> None:
    """All or nothing, on disk when it returns, read-only."""
    descriptor, partial = tempfile.mkstemp(prefix=".", suffix=".partial", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o444)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the entry of the file, not only its content
    finally:
        os.close(folder)


@contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"artifacts: cannot use {target}: {error.strerror}; check --logdir (TUNER_LOGDIR)") from error
