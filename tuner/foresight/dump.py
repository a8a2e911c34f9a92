"""The folder into which libtpu dumps what it compiled: bounded, and always removed.

A dump can be a gigabyte a kernel, so it is restricted to what is read, watched while it grows, and removed when the block ends, whatever
ended it. What a killed process left behind is removed by the next one. The flags are libtpu's own and undocumented (tried with 0.0.48).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.core.numbers import number

GIB = 1 << 30
MOST_BYTES = 2 * GIB
_WATCH_EVERY_S = 0.2
_PREFIX = "tuner-dump-"  # then the process id of its owner
_FLAGS = ("--xla_jf_dump_llo_text=true", "--xla_jf_dump_llo_pass_label_regex=hlo-static-bundle-profile")
_PROFILES = "*hlo-static-bundle-profile*"
_UNKNOWN_FLAG = ("unknown command line flag", "unknown flag", "xla_jf_dump")


class Dump:
    """A new, empty folder. Owned by `with`; end the process that writes into it first. `most_bytes`: what it may grow to."""

    def __init__(self, parent: Path | None = None, most_bytes: int = MOST_BYTES) -> None:
        """`parent`: the system's temporary folder by default. Raises BadInput where there is no room for a dump."""
        self._most_bytes = most_bytes
        place = parent or Path(tempfile.gettempdir())
        try:
            remove_left_behind(place)
            free = shutil.disk_usage(place).free
            if free < most_bytes:
                raise BadInput(
                    f"the compiler's dump may take {number(most_bytes / GIB)} GiB, and {place} has {free / GIB:.1f} GiB left",
                    fix="make room, or name another folder in TMPDIR",
                )
            self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
        except OSError as error:
            raise BadInput(f"no folder for the compiler's dump in {place}: {error.strerror}; name another in TMPDIR") from error

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """For a process that shall dump into this folder, beside the libtpu flags in `given`."""
        flags = [given.get("LIBTPU_INIT_ARGS", ""), f"--xla_jf_dump_to={self.folder}", *_FLAGS]
        return {"LIBTPU_INIT_ARGS": " ".join(filter(None, flags))}

    @contextlib.contextmanager
    def watched(self, stop: Callable[[], None]) -> Iterator[None]:
        """Calls `stop`, which must end the writer, once when the folder is too large; raises TrialFailed then, in the place of what that
        made the writer's client raise. What was dumped before is removed."""
        self.empty()
        done, grown = threading.Event(), threading.Event()

        def watch() -> None:
            while not done.wait(_WATCH_EVERY_S):
                if self.size() > self._most_bytes:
                    grown.set()
                    stop()
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        except TrialFailed:
            if not grown.is_set():
                raise
        finally:
            done.set()
            watcher.join()
        if grown.is_set():
            raise TrialFailed(FailureClass.INTERNAL, f"the compiler's dump grew above {number(self._most_bytes / GIB)} GiB; it was removed")

    def size(self) -> int:
        """Bytes of the files in it now."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):  # gone meanwhile
                total += path.stat().st_size
        return total

    def profiles(self) -> list[str]:
        """The static bundle profiles, in the order in which they were written. Raises TrialFailed where one cannot be read."""
        try:
            return [path.read_text(encoding="utf-8", errors="replace") for path in sorted(self.folder.glob(_PROFILES))]
        except OSError as error:
            raise TrialFailed(FailureClass.INTERNAL, f"the compiler's dump cannot be read: {error.strerror}") from error

    def empty(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_left_behind(place: Path) -> None:
    """Dumps whose owner is gone without having removed them (it was killed)."""
    for folder in place.glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not _runs(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def knows_no_flags(words: str) -> bool:
    """Whether libtpu says in its log that it does not know one of the flags."""
    low = words.lower()
    return any(f"{sign}" in low for sign in _UNKNOWN_FLAG[:2]) and _UNKNOWN_FLAG[2] in low
