"""How much of the machine's CPU time others took during a window: a disturbed one can be told from a quiet one (tuner.trials.idle)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


class CpuShare:
    """From its making on. `own_s`: CPU seconds that the measurement itself has used so far; the machine's other CPU time is foreign."""

    def __init__(self, own_s: Callable[[], float] = time.process_time) -> None:
        self._own_s = own_s
        self._wall, self._own, self._all = time.perf_counter(), own_s(), _busy_jiffies()

    def since(self) -> dict[str, float]:
        """{"own_cpu_share", "foreign_cpu_share"}: 0 to 1, of all cores."""
        wall = time.perf_counter() - self._wall
        own = self._own_s() - self._own
        busy = (_busy_jiffies() - self._all) / os.sysconf("SC_CLK_TCK")
        cores = os.cpu_count() or 1
        return {"own_cpu_share": round(own / wall / cores, 4), "foreign_cpu_share": round(max(0.0, busy - own) / wall / cores, 4)}


def _busy_jiffies() -> int:
    with Path("/proc/stat").open() as lines:
        fields = [int(word) for word in next(lines).split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return user + nice + system + irq + softirq + steal
