"""Process groups: peers sent SIGTERM to the parent alone, and its children kept the accelerator."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuner.engine.processes import group_alive, kill_group

STUBBORN_CHILD = """
import signal, subprocess, sys
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
signal.pause()
"""


@pytest.mark.slow
def test_nothing_of_the_group_is_left() -> None:
    """The child ignores SIGTERM and outlives its parent's."""
    with subprocess.Popen([sys.executable, "-c", STUBBORN_CHILD], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n", "the child is up"
        kill_group(parent.pid, grace_s=0.5)
        assert not group_alive(parent.pid)
