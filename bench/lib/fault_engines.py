"""Faults of engines in studies of this process: of a real engine host and the engine that it forked, and those that an engine reports.

The engine measures nothing (tests.tuner.launchers.light_engine), but host, wire, fork and everything above them are the real ones.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

import tuner.launchers.local
import tuner.trials.watchdog
from bench.lib.fault_findings import Found, judge, orphans
from storage.upgrade import open_storage
from tests.tuner.fake_engine import FakeLauncher, crash
from tests.tuner.launchers.light_engine import light_python
from tests.tuner.workbench import config_of
from tuner.core.contract import Launcher, WindowResult
from tuner.core.errors import EngineLost, FailureClass
from tuner.launchers.local import LocalLauncher
from tuner.search.plan import plan_search
from tuner.search.study import StudyRun
from tuner.setup.study_setup import prepare_study

WINDOW_S = 0.03
STUDY_S = 1.2  # about as long as one takes with WINDOW_S
ROUNDS = 2
HUNG_S = (2.0, 1.0)  # after which an engine counts as hung: here windows take moments

type Hooks = dict[str, Any]  # of a FakeLauncher


class EngineCampaign:
    """One SQLite database in `folder`; one study for each fault."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._url = f"sqlite:///{folder}/engines.db"
        self._random = random.Random(seed)  # no secret: which faults and when can be repeated
        self._storage = open_storage(self._url)
        self._python = light_python(folder)
        self.found = Found()

    def run(self, faults: int) -> Found:
        """Half of them processes that are killed or stopped, half of them failures that an engine reports."""
        floor_s, grace_s = HUNG_S
        kills, reports = list(KILLS), list(REPORTS)
        with (
            patch.dict(os.environ, LIGHT_WINDOW_S=str(WINDOW_S)),
            patch.object(tuner.trials.watchdog, "FLOOR_S", floor_s),
            patch.object(tuner.launchers.local, "GRACE_S", grace_s),
        ):
            for number in range(faults):
                if number % 2:
                    self._killed(kills[number // 2 % len(kills)])
                else:
                    self._reported(reports[number // 2 % len(reports)])
        judge(self.found, self._storage)
        self._storage.close()
        return self.found

    def _killed(self, name: str) -> None:
        launcher = LocalLauncher(log_dir=self._folder / "logs", python=self._python, platform="cpu")
        sent, of_the_host = KILLS[name]
        seen: set[psutil.Process] = set()
        over = threading.Event()

        def inject() -> None:
            while not over.is_set() and launcher.host_pid is None:
                time.sleep(0.01)
            over.wait(self._random.uniform(0.0, STUDY_S))
            while not over.is_set():
                with suppress(psutil.NoSuchProcess, TypeError):  # of a host that is being replaced
                    host = psutil.Process(launcher.host_pid)
                    engines = host.children()
                    seen.update([host, *engines])
                    if of_the_host or engines:
                        (host if of_the_host else engines[0]).send_signal(sent)
                        self.found.faults[name] += 1
                        return
                time.sleep(0.01)

        injector = threading.Thread(target=inject)
        injector.start()
        self._study(launcher)
        over.set()
        injector.join()
        self.found.orphans += orphans(lambda: [process for process in seen if runs(process)])

    def _reported(self, name: str) -> None:
        hooks = REPORTS[name](self._random.randrange(5))
        self._study(FakeLauncher(**hooks), profile="all" if "profile" in name else "none")
        self.found.faults[name] += 1

    def _study(self, launcher: Launcher, **changes: Any) -> None:
        self.found.studies += 1
        name = f"e{self.found.studies}"
        logdir = str(self._folder / "profiles")
        config = config_of(
            name, logdir=logdir, storage=self._url, guard=False, seed=self.found.studies, rounds=ROUNDS, trial_timeout=5, **changes
        )  # stopped in a warm-up
        StudyRun(plan_search(prepare_study(config), self._storage, resume=False), self._storage, launcher).run()


def runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


KILLS: Mapping[str, tuple[signal.Signals, bool]] = {
    "SIGKILL of an engine": (signal.SIGKILL, False),
    "SIGSTOP of an engine": (signal.SIGSTOP, False),
    "SIGKILL of an engine host": (signal.SIGKILL, True),
}


def _nth(which: int, do: Callable[[], Any]) -> Callable[..., None]:
    """A hook that acts when it is called for the `which`-th time, from 0."""
    calls = 0

    def hook(*_arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == which + 1:
            do()

    return hook


def _nth_window(which: int, do: Callable[[WindowResult], WindowResult]) -> Callable[..., WindowResult]:
    calls = 0

    def hook(_configuration: object, _nth: int, result: WindowResult) -> WindowResult:
        nonlocal calls
        calls += 1
        return do(result) if calls == which + 1 else result

    return hook


def _raise(failure: FailureClass) -> Callable[..., Any]:
    def fail(*_arguments: Any) -> Any:
        raise EngineLost(failure, f"injected: {failure}", "last line of the log")

    return fail


def _crash(*_arguments: Any) -> Any:
    raise crash()


def _corrupt(*_arguments: Any) -> bytes:
    return b"\x0a\xff\xff\xff\xff\x7f not a profile"


REPORTS: Mapping[str, Callable[[int], Hooks]] = {
    "engine crash at start": lambda which: {"on_open": _nth(which % 2, _crash)},
    "engine crash at warm-up": lambda which: {"on_warm_up": _nth(which, _crash)},
    "engine crash in a window": lambda which: {"on_measure": _nth_window(3 * which, _crash)},
    "engine crash at a profile": lambda which: {"on_profile": _nth(which, _crash)},
    "corrupt profile": lambda _which: {"xspace": _corrupt},
    "out of memory at start": lambda which: {"on_open": _nth(which % 2, _raise(FailureClass.OUT_OF_MEMORY))},
    "start that takes too long": lambda which: {"on_open": _nth(which % 2, _raise(FailureClass.TIMEOUT))},
    "window that takes too long": lambda which: {"on_measure": _nth_window(3 * which, _raise(FailureClass.TIMEOUT))},
    "window with recompilation": lambda which: {"on_measure": _nth_window(3 * which, lambda result: replace(result, compilations=1))},
}
