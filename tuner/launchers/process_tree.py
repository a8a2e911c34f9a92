"""CPU time of this process and everything it started."""

from __future__ import annotations

import contextlib

import psutil


def tree_cpu_s() -> float:
    """User and system seconds, those of ended children among them (their parents waited for them)."""
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now: its parent has its time
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
