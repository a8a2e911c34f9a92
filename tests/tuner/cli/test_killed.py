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

SLOW = "tests.tuner.cli.slow_tuner"
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
def running(terminal: Terminal, *more: str, window_s: float = 0.1) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "TUNER_TEST_WINDOW_S": str(window_s), "TUNER_CACHE": str(terminal.folder.parent / "cache")}
    process = start_process(terminal.search_arguments("--study", "s", *more), env, SLOW)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_windows(terminal: Terminal, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 60
    while len(windows_of(terminal)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no measurement came"
        time.sleep(0.02)


def engines_alive(terminal: Terminal) -> list[int]:
    """Engine processes that are left, after a moment in which the kernel may deliver their parent's death."""
    pids = [int(line) for line in (terminal.folder / "engines.txt").read_text().split()]
    assert pids, "an engine did run"
    deadline = time.monotonic() + 10
    while alive := [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.05)
    return []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_from_outside_and_resumed(terminal: Terminal, signum: signal.Signals) -> None:
    with running(terminal) as process:
        wait_for_windows(terminal, process, 6)
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert engines_alive(terminal) == []
    before = windows_of(terminal)
    assert 6 <= len(before) < 24
    if signum is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL and study_state(terminal) is StudyState.RUNNING
    else:
        assert process.returncode == 130 and out == "" and "Traceback" not in err
        assert err.splitlines()[-1].startswith("interrupted: study 's' keeps what was measured; run the same command with --resume")
        assert study_state(terminal) is StudyState.INTERRUPTED
    with running(terminal, "--resume", "--json", window_s=0) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    after = windows_of(terminal)
    assert json.loads(out)["run"]["measured_windows"] == WINDOWS - len(before)
    assert {item.id: item for item in before}.items() <= {item.id: item for item in after}.items()
    assert sorted((item.trial_id, item.round) for item in after) == sorted({(item.trial_id, item.round) for item in after})
    assert len(after) == WINDOWS and study_state(terminal) is StudyState.COMPLETE
    assert engines_alive(terminal) == []


def test_a_second_process_is_refused_while_the_first_runs(terminal: Terminal) -> None:
    with running(terminal) as first:
        wait_for_windows(terminal, first, 1)
        with running(terminal, "--resume", window_s=0) as second:
            out, err = second.communicate(timeout=60)
        assert second.returncode == 2 and out == ""
        assert err.startswith(f"error: study 's' is being run by process {first.pid} on ") and err.count("\n") == 1
        assert first.poll() is None, "the first goes on"
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    assert first.returncode == 130


def test_two_signals_are_as_good_as_one(terminal: Terminal) -> None:
    with running(terminal) as process:
        wait_for_windows(terminal, process, 1)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert engines_alive(terminal) == []
