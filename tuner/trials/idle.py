"""Is somebody else using the machine? Told by CPU contention: the part of its CPU time that other processes took during a window.

Looking costs nothing, because the launcher counts inside the window; only after a disturbed one is time spent on waiting. A machine that is
always busy has a usual level, and only what goes well beyond it disturbs: pairs share the rest, and the report states it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import psutil

BUSY = 0.10  # beyond the usual level
MIN_EARLIER = 4
RECENT = 8  # windows that make the usual level: it follows a load that stays
PATIENCE_S = 5.0
LOOK_S = 0.25


def is_busy(contention: float | None, earlier: Sequence[float]) -> bool:
    """Whether a window with this CPU contention (0 to 1) was disturbed, compared with the windows before it (oldest first); False where
    its contention is unknown."""
    if contention is None or len(earlier) < MIN_EARLIER:
        return False
    return contention > median(earlier[-RECENT:]) + BUSY


def wait_until_idle(
    earlier: Sequence[float],
    *,
    patience_s: float = PATIENCE_S,
    cpu_busy: Callable[[], float] = lambda: psutil.cpu_percent(interval=LOOK_S) / 100,
    now: Callable[[], float] = time.monotonic,
) -> bool:
    """Between two windows, while the engine does nothing: wait until the machine is as idle as usual. False where it never was."""
    deadline = now() + patience_s
    while is_busy(cpu_busy(), earlier):
        if now() >= deadline:
            return False
    return True
