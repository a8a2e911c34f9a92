"""A whole `tuner search` process that is interrupted or killed: finished measurements stay, no engine process is left, --resume does the
rest. Peers' bug 5: SIGTERM reached only the parent and orphans kept the accelerator.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from storage.base import StorageFault
from storage.records import Measurement, StudyState
from storage.upgrade import open_storage
from tests.tuner.cli.terminal import Terminal, start_process
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

HELD = "tests.tuner.cli.held_tuner"
WINDOWS = 30  # 24 of the search, 6 of the finalists


def windows_of(terminal: Terminal) -> list[Measurement]:
    try:
        storage = open_storage(terminal.url, create=False, read_only=True)
    except StorageFault:
        return []  # not made yet
    try:
        return list(storage.list_measurements(study_id=storage.get_study("s").id))
    except StorageFault:
        return []
    finally:
        storage.close()


def study_state(terminal: Terminal) -> StudyState:
    storage = open_storage(terminal.url, create=False, read_only=True)
    try:
        return storage.get_study("s").state
    finally:
        storage.close()


@contextmanager
def running(terminal: Terminal, *more: str, windows: int = WINDOWS) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "TUNER_TEST_WINDOWS": str(windows), "TUNER_CACHE": str(terminal.folder.parent / "cache")}
    process = start_process(terminal.search_arguments("--study", "s", *more), env, HELD)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_windows(terminal: Terminal, process: subprocess.Popen[str], count: int) -> None:
    def came() -> bool:
        assert process.poll() is None, process.communicate()
        return len(windows_of(terminal)) >= count

    wait_until(came, "measurements", every_s=0.02)


def engines_alive(terminal: Terminal) -> list[int]:
    """Engine processes that are left, after a moment in which the kernel may deliver their parent's death."""
    pids = [int(line) for line in (terminal.folder / "engines.txt").read_text().split()]
    assert pids, "an engine did run"
    deadline = time.monotonic() + PATIENCE_S
    while alive := [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.05)
    return []


def resume_and_check(terminal: Terminal, before: list[Measurement]) -> None:
    """Exactly the missing windows run; what was there stays as it was."""
    with running(terminal, "--resume", "--json") as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    after = windows_of(terminal)
    assert json.loads(out)["run"]["measured_windows"] == WINDOWS - len(before)
    assert {item.id: item for item in before}.items() <= {item.id: item for item in after}.items()
    assert sorted((item.trial_id, item.round) for item in after) == sorted({(item.trial_id, item.round) for item in after})
    assert len(after) == WINDOWS and study_state(terminal) is StudyState.COMPLETE
    assert engines_alive(terminal) == []


def test_killed_and_resumed(terminal: Terminal) -> None:
    with running(terminal, windows=6) as process:
        wait_for_windows(terminal, process, 6)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    assert engines_alive(terminal) == []
    before = windows_of(terminal)
    assert len(before) == 6 and study_state(terminal) is StudyState.RUNNING
    resume_and_check(terminal, before)


def test_stopped_by_signals_while_a_second_process_is_refused(terminal: Terminal) -> None:
    """Two signals are as good as one: the second must not disturb the closing of the engine."""
    with running(terminal, windows=1) as process:
        wait_for_windows(terminal, process, 1)
        with running(terminal, "--resume") as second:
            out, err = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 2 and out == ""
        assert err.startswith(f"error: study 's' is being run by process {process.pid} on ") and err.count("\n") == 1
        assert process.poll() is None, "the first goes on"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1].startswith("interrupted: study 's' keeps what was measured; run the same command with --resume")
    assert study_state(terminal) is StudyState.INTERRUPTED
    assert engines_alive(terminal) == []
    resume_and_check(terminal, windows_of(terminal))
