"""Signals end what the main thread waits for, whichever thread the kernel gives them to."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.waiting import PATIENCE_S
from tuner.cli.interrupts import interruptible

INT, TERM = signal.SIGINT, signal.SIGTERM
WAITS = """
import hashlib, threading, time
from tuner.cli.interrupts import interruptible
def busy():
    while True:
        hashlib.sha256(bytes(1 << 22))  # without Python's lock: a thread that runs takes signals first
for _ in range(6):
    threading.Thread(target=busy, daemon=True).start()
try:
    with interruptible():
        print("ready", flush=True)
        time.sleep(3600)
except KeyboardInterrupt as stopped:
    print("stopped by", stopped)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sent", [(TERM, INT), (INT, TERM), (INT, INT), (TERM,)], ids=lambda sent: "+".join(item.name for item in sent))
def test_two_signals_at_once_do_not_leave_it_waiting(sent: tuple[signal.Signals, ...]) -> None:
    """Another thread could take both, and the search went on until its window ended. In one of two processes, so several are tried."""
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                time.sleep(0.05)  # into the sleep
                for item in sent:
                    process.send_signal(item)
                assert process.communicate(timeout=PATIENCE_S)[0].startswith("stopped by SIG")
            finally:
                process.kill()


def test_everything_is_as_before_afterwards() -> None:
    def kept() -> list[object]:
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        return [descriptor, *map(signal.getsignal, (INT, TERM, signal.SIGURG))]

    before = kept()
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), interruptible():
        signal.raise_signal(TERM)
    assert kept() == before
