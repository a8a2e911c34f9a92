"""Ctrl-C and SIGTERM end a run in order: the engine is closed, what was measured is kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WAKE = signal.SIGURG  # ends a system call of the main thread, and nothing else
_EVERY_S = 0.05


@contextmanager
def interruptible(drain: Callable[[], None] | None = None) -> Iterator[None]:
    """The first signal raises KeyboardInterrupt (which no `except Exception` swallows); further ones wait for the clean-up. With `drain`
    the first one calls that instead, and the second raises."""
    asked = drain is None
    seen = False
    handled = 0

    def stop(signum: int, _frame: FrameType | None) -> None:
        nonlocal asked, seen, handled
        handled += 1
        if not asked and drain is not None:
            asked = True
            drain()
            return
        if seen:
            print("still closing the engine ...", file=sys.stderr, flush=True)
            return
        seen = True
        raise KeyboardInterrupt(signal.Signals(signum).name)

    before = {signum: signal.signal(signum, stop) for signum in SIGNALS}
    try:
        with _main_thread_woken(lambda: handled):
            yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _main_thread_woken(handled: Callable[[], int]) -> Iterator[None]:
    """Python runs handlers in the main thread only, once that leaves its system call. Of two signals at once the kernel may let another
    thread take both, and the main one goes on waiting for its engine; so a thread wakes it until `handled` has counted every signal."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    main = threading.main_thread().ident
    assert main is not None
    ignored = signal.signal(_WAKE, lambda _signum, _frame: None)
    known = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    ended = threading.Event()

    def watch() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS, _WAKE})
        received = 0
        while numbers := os.read(reader, 64):  # of signals that came, a byte each; one that is 0 ends this
            received += sum(number in SIGNALS for number in numbers)
            while handled() < received and not ended.wait(_EVERY_S):
                signal.pthread_kill(main, _WAKE)
            if ended.is_set():
                return

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(known)
        os.write(writer, b"\0")
        watcher.join()
        os.close(reader)
        os.close(writer)
        signal.signal(_WAKE, ignored)
