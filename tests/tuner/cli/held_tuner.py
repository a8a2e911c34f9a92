"""`tuner` with an engine that stops in the middle and has a process of its own, to be interrupted and killed from outside.

TUNER_TEST_WINDOWS is how many windows it measures; the next one never ends, so that a busy machine cannot miss the moment. Each window
takes TUNER_TEST_WINDOW_S more seconds. Each engine's process id is appended to the file engines.txt in the working directory.

TUNER_TEST_HOST is the machine that it believes to be on, with leases of a second. Its clock is wrong by the seconds in the file clock of
the working directory, where there is one.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import override

import tuner.fleet.worker
import tuner.launchers.choice
import tuner.search.lease
from storage.queue_records import Claim
from tests.tuner.fake_engine import FakeLauncher, FakeSession
from tuner.cli.main import main as tuner_main
from tuner.core.contract import EngineSettings, Launcher, WindowResult
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration

PR_SET_PDEATHSIG = 1


NEVER_S = 3600
windows = itertools.count(1)


def held_window(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    if next(windows) > int(os.environ["TUNER_TEST_WINDOWS"]):
        time.sleep(NEVER_S)
    time.sleep(float(os.environ.get("TUNER_TEST_WINDOW_S", "0")))
    return result


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class HeldSession(FakeSession):
    def __init__(self, launcher: HeldLauncher, settings: EngineSettings) -> None:
        super().__init__(launcher, settings)
        self._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=die_with_parent)  # noqa: PLW1509
        with Path("engines.txt").open("a") as file:
            file.write(f"{self._process.pid}\n")

    @override
    def close(self) -> None:
        super().close()
        self._process.kill()
        self._process.wait()


class HeldLauncher(FakeLauncher):
    @override
    def open(self, settings: EngineSettings, timeout_s: float) -> FakeSession:
        super().open(settings, timeout_s)
        return HeldSession(self, settings)


def make_held(config: StudyConfig) -> Launcher:
    return HeldLauncher(on_measure=held_window)


def be_on(host: str) -> None:
    socket.gethostname = lambda: host
    tuner.search.lease.HEARTBEAT_S, tuner.search.lease.STALE_AFTER_S = 0.2, 1.0
    tuner.fleet.worker.LEFT_ALONE_S = 1.0
    vars(tuner.fleet.worker)["Claim"] = partial(Claim, most_attempts=1_000_000)  # so many faults hit one study


def clock() -> float:
    try:
        return right_time() + float(Path("clock").read_text())
    except (OSError, ValueError):
        return right_time()


right_time = time.time


def main() -> None:
    if host := os.environ.get("TUNER_TEST_HOST"):
        be_on(host)
        time.time = clock
    tuner.launchers.choice.make_launcher = make_held
    tuner_main()
