"""Processes by their process group: ended, looked at, and why they ended. Standard library and storage.secrets only; Linux."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from storage.secrets import redacted_text

EXCERPT_LINES = 40
GRACE_S = 10.0


def log_excerpt(path: Path, lines: int = EXCERPT_LINES, limit_bytes: int = 64 * 1024) -> str:
    """The last lines of a process's log, at most `limit_bytes` of them, without secrets; empty if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - limit_bytes))
            return redacted_text("\n".join(log.read().decode(errors="replace").splitlines()[-lines:]))
    except OSError:
        return ""


def kill_group(pid: int, grace_s: float = GRACE_S) -> None:
    """SIGTERM to the process group of `pid`, SIGKILL after `grace_s` seconds to what is left of it."""
    for signum, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signum)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not group_alive(pid):
                return
            time.sleep(0.02)


def group_alive(pgid: int) -> bool:
    """Whether a process that is not a zombie is left in the group."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == pgid and fields[0] != "Z":
                return True
    return False


def how_it_ended(code: int) -> str:
    """ "exited with code 1" or "was ended by SIGKILL"; `code` is negative where a signal ended the process."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


class OomWatch:
    """Tells whether the kernel's out-of-memory killer was at work since this was made."""

    def __init__(self) -> None:
        self._kills = _kernel_oom_kills()

    def killed(self, code: int | None) -> bool:
        """Whether a process with this exit code was (in all likelihood) taken by the kernel for its memory."""
        return code == -signal.SIGKILL and _kernel_oom_kills() > self._kills


def _kernel_oom_kills() -> int:
    """How many processes the kernel's out-of-memory killer has ended since boot; 0 where the kernel does not say."""
    with contextlib.suppress(OSError), Path("/proc/vmstat").open() as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0
