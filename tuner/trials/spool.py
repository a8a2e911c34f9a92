"""Finished windows that the database could not take, in a file of this machine until it can. One file a study; it is gone once it is empty.

A line is a checksum and a window as JSON. It is on the disk before the next window is measured, so it survives the process and the machine.
Windows go into the database once, however often the file is read (storage.base.Storage.restore_measurement), and only while whoever reads
it holds the study. So the file belongs to the process that holds the study, or held it last.

Of a study that several workers share each worker has a file of its own, locked while it lives, and each line names the claim under which
the window was measured: it is stored only while that claim is still the worker's, in the same transaction.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from storage.base import ClaimLost, Storage, StorageUnavailable
from storage.queue_records import Fence
from storage.records import Measurement, Study, Trial
from storage.secrets import redacted
from storage.values import plain

SUFFIX = ".windows"
MOST_BYTES = 64 * 2**20  # of a file: some 50,000 windows
SHORTEST_PAUSE_S = 0.5  # between two attempts to reach a database that was away


@dataclass(frozen=True)
class KeptWindow:
    """`claim`: under which it was measured; None on a study that one process runs."""

    measurement: Measurement
    trial_created_at: float
    claim: Fence | None = None

    def store(self, storage: Storage) -> Measurement | None:
        """None where it came too late: somebody else measures it. Raises StorageFault."""
        if self.claim is not None:
            storage = storage.fenced(lambda: self.claim)
        try:
            return storage.restore_measurement(self.measurement, self.trial_created_at)
        except ClaimLost:
            return None


@dataclass(frozen=True)
class Kept:
    """What a file holds. `study` "" where no line can be read."""

    study: str = ""
    study_id: int = 0
    created_at: float = 0.0
    windows: tuple[KeptWindow, ...] = ()
    damaged: tuple[bytes, ...] = ()  # lines

    @property
    def shared(self) -> bool:
        """By a worker of a study that several share."""
        return bool(self.windows) and all(item.claim is not None for item in self.windows)

    def belongs_to(self, study: Study) -> bool:
        """Names may change, and ids are given again in another database."""
        return (self.study_id, self.created_at) == (study.id, study.created_at)


def default_spool(logdir: str) -> Path:
    """Where windows are kept when nobody says otherwise."""
    return Path(logdir).expanduser().absolute() / "spool"


def spool_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def read_spool(path: Path) -> Kept:
    """Nothing where there is no such file. A line that was not written whole is damaged."""
    kept, windows, damaged = Kept(), [], []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        checksum, _, text = line.partition(b" ")
        if checksum.decode(errors="replace") != _checksum(text):
            damaged.append(line)
            continue
        found = json.loads(text)
        kept = Kept(str(found["study"]), int(found["study_id"]), float(found["created_at"]))
        claim = None if "claim" not in found else Fence(int(found["study_id"]), *map(str, found["claim"]))
        windows.append(KeptWindow(Measurement(**found["window"]), float(found["trial_created_at"]), claim))
    return replace(kept, windows=tuple(windows), damaged=tuple(damaged))


def told(stored: Sequence[Measurement | None]) -> str:
    """What became of the windows of a file, for people."""
    late = sum(item is None for item in stored)
    said = f"{len(stored)} windows that were kept on this machine are in the database"
    return said if not late else f"{said}, but for {late} that came too late: others measure them again"


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether nobody who lives has this file of a shared study, which then is ours."""
    with ExitStack() as ending:
        try:
            file = ending.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.fstat(file.fileno()).st_ino == path.stat().st_ino
        except (FileNotFoundError, BlockingIOError):
            ours = False
        yield ours


def flush_file(path: Path, storage: Storage) -> Sequence[tuple[Measurement, Measurement | None]]:
    """Store all of it and remove the file: (as it was kept, as it is stored), None for what came too late. Raises StorageFault; then
    all of it is still there."""
    kept = read_spool(path)
    done = [(item.measurement, item.store(storage)) for item in kept.windows]
    if kept.damaged:
        with path.with_suffix(".damaged").open("ab") as aside:
            aside.write(b"".join(line + b"\n" for line in kept.damaged))
    path.unlink(missing_ok=True)
    return done


class Spool:
    """Of one study, which this process holds; or, with `claim`, of one worker of several: `claim` is what it measures under just then, and
    `worker` its own among all workers that live."""

    def __init__(self, folder: Path, study: Study, *, worker: str = "", claim: Callable[[], Fence | None] = lambda: None) -> None:
        self._study = study
        self._claim = claim
        self._lock: int | None = None  # the file while this process has it, of a shared study
        self._name = f"{study.id} {study.created_at!r} {worker}".strip()
        self.path = folder / f"{hashlib.sha256(self._name.encode()).hexdigest()[:16]}{SUFFIX}"
        self._pause_s = SHORTEST_PAUSE_S
        self._not_before = 0.0  # monotonic seconds
        self._kept = 0

    @property
    def empty(self) -> bool:
        return not self.path.exists()

    @property
    def resting(self) -> bool:
        """Whether the database was away just now, and need not be asked again."""
        return time.monotonic() < self._not_before

    def was_away(self, asked_s: float) -> None:
        """`asked_s`: how long it took to find out. One that does not even refuse is not asked before every window."""
        self._not_before = time.monotonic() + max(SHORTEST_PAUSE_S, asked_s)

    def append(self, measurement: Measurement, trial: Trial) -> Measurement:
        """Keep it; the id of what comes back is negative until it is stored. Raises StorageUnavailable where it cannot be kept, and
        InvalidRecord for what no database takes."""
        window = {name: value for name, value in asdict(measurement).items() if name != "id"}
        owner = {"study": self._study.name, "study_id": self._study.id, "created_at": self._study.created_at}
        owner["trial_created_at"] = trial.created_at
        if (claim := self._claim()) is not None:
            owner["claim"] = [claim.group_key, claim.token]
        text = json.dumps({**owner, "window": redacted(plain(window, "window"))}, separators=(",", ":")).encode()
        try:
            self._write(_checksum(text).encode() + b" " + text + b"\n")
        except OSError as error:
            raise StorageUnavailable(f"the window cannot be kept in {self.path} either: {error.strerror}") from error
        if claim is not None and self._lock is None:
            self._lock = os.open(self.path, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._kept += 1
        return replace(measurement, id=-self._kept)

    def flush(self, storage: Storage) -> Sequence[tuple[Measurement, Measurement | None]]:
        """As flush_file."""
        done = flush_file(self.path, storage)
        self.let_go()
        self._not_before = 0.0
        return done

    def let_go(self) -> None:
        """What is left of it is for whoever works here next. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, line: bytes) -> None:
        """On the disk when this returns; where it raises, the file is as it was."""
        new = not self.path.exists()
        if new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            if before + len(line) > MOST_BYTES:
                raise OSError(errno.EFBIG, f"it holds {before / 2**20:.0f} MiB already")
            try:
                for part in _whole(line, begun=before > 0 and not _ends_a_line(self.path)):
                    _write_all(file.fileno(), part)
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), before)
                raise
        if new:
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _whole(line: bytes, *, begun: bool) -> Iterator[bytes]:
    """`begun`: a process ended while it wrote a line."""
    if begun:
        yield b"\n"
    yield line


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _write_all(descriptor: int, data: bytes) -> None:
    """A disk that is nearly full takes a part."""
    while data:
        data = data[os.write(descriptor, data) :]
