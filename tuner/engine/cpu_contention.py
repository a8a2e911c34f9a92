"""CPU contention: how much of the machine's CPU time other processes took while a window was measured (read by tuner.trials.idle)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

CONTENTION = "cpu_contention"
OWN_CPU = "own_cpu_fraction"


class CpuContention:
    """Counts from its making on. `own_s` gives the CPU seconds that the measurement itself has used so far; all other CPU time is
    contention."""

    def __init__(self, own_s: Callable[[], float] = time.process_time) -> None:
        self._own_s = own_s
        self._wall, self._own, self._all = time.perf_counter(), own_s(), _busy_jiffies()

    def since(self) -> dict[str, float]:
        """{OWN_CPU, CONTENTION}: CPU time of the measurement and of everybody else, each 0 to 1 of all cores."""
        wall = time.perf_counter() - self._wall
        own = self._own_s() - self._own
        busy = (_busy_jiffies() - self._all) / os.sysconf("SC_CLK_TCK")
        cores = os.cpu_count() or 1
        return {OWN_CPU: round(own / wall / cores, 4), CONTENTION: round(max(0.0, busy - own) / wall / cores, 4)}


def _busy_jiffies() -> int:
    with Path("/proc/stat").open() as lines:
        fields = [int(word) for word in next(lines).split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return user + nice + system + irq + softirq + steal
