"""A bench that is told to stop (SIGTERM, Ctrl-C) while its threads wait for processes: it ends all of them, undoes what was registered,
and is gone. Threads cannot be interrupted, so this is no exception that they would hear of."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

_undo: dict[int, Callable[[], None]] = {}


@contextmanager
def undone_at_the_end(undo: Callable[[], None]) -> Iterator[None]:
    """`undo` is called when the context ends, or at the signal."""
    _undo[id(undo)] = undo
    try:
        yield
    finally:
        del _undo[id(undo)]
        undo()


def end_all_at_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _end_all)


def _end_all(signum: int, _frame: FrameType | None) -> None:
    print(f"told to stop: {signal.Signals(signum).name}", file=sys.stderr, flush=True)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()
    for undo in list(_undo.values())[::-1]:
        with suppress(Exception):  # whatever a thread is doing with it meanwhile
            undo()
    os._exit(128 + signum)
