"""Waiting in tests: for a condition, not for a time. How long it takes is the machine's business, which may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 200.0  # below pytest's time-out of a test, so that what did not come is named


def wait_until(condition: Callable[[], object], what: str, *, patience_s: float = PATIENCE_S, every_s: float = 0.05) -> None:
    """Returns once `condition()` is true. Raises AssertionError naming `what` where it does not become true in time."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s in vain: {what}"
        time.sleep(every_s)
