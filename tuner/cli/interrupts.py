"""Ctrl-C and SIGTERM end a run in order: the engine is closed, what was measured is kept."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[None]:
    """The first signal raises KeyboardInterrupt (which no `except Exception` swallows); further ones wait for the clean-up."""
    seen = False

    def stop(signum: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            print("still closing the engine ...", file=sys.stderr, flush=True)
            return
        seen = True
        raise KeyboardInterrupt(signal.Signals(signum).name)

    before = {signum: signal.signal(signum, stop) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
