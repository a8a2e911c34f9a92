"""How the tests are shared out among the worker processes of pytest-xdist (`-n`): file by file, so that a module's fixtures are made once.

Files whose tests start an engine are one group, which comes first and stays on one worker: at most one engine runs at a time, and the
engines of the plugin `engine` are shared among all of them. A Ray cluster without an engine may run beside it. Files that share something
else that takes seconds to make are a group as well. Without `-n` nothing of this applies.

xdist's own groups (`xdist_group`) do not work here: xdist 3.8 writes them into an attribute that pytest 9.2 no longer reads. So a file
is told by its text, which the process that shares out can read without collecting.
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GROUP = "heavy"
TOGETHER = ("tests/service/pages/", "tests/tuner/report/")  # their gallery and their drawing program are made once
_HEAVY = re.compile(r"\bmark\.engine\b")
_LONG = re.compile(r"\bmark\.timeout\(")  # a file that asks for more time than tests have
# Groups, by what their files say.
_SHARED = {"simulated": '"shared_simulation_host"', "compiled": "shared_compiler: Compiler", "programs": "programs: Programs"}
_GROUPS = (GROUP, "compiled", TOGETHER[0], "simulated", "programs")  # the longest first
gc.disable()  # until tests run: importing and collecting makes hardly any garbage, and looking for it takes a seventh of their time


@functools.cache
def is_heavy(path: Path) -> bool:
    """Whether a test of the file starts an engine."""
    return _HEAVY.search(path.read_text(encoding="utf-8")) is not None


@functools.cache
def is_long(path: Path) -> bool:
    return _LONG.search(path.read_text(encoding="utf-8")) is not None


@functools.cache
def group_of(path: Path, file: str) -> str:
    """What the tests of a file are one unit of work with; `file` as in a test's id."""
    if is_heavy(path):
        return GROUP
    text = path.read_text(encoding="utf-8")
    for group, words in _SHARED.items():
        if words in text:
            return group
    return TOGETHER[0] if file.startswith(TOGETHER) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """`-n auto` is one more than there are cores: slow tests leave theirs idle for a quarter of the time. `-n logical` stays the cores."""
    return len(os.sched_getaffinity(0)) + 1 if config.option.numprocesses == "auto" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Stable: the groups begin at once, because they take longest; first in theirs those who share engines, so that they find one
    running, and last the short tests of the engines' files: what a worker is given next waits for its last test."""
    if hasattr(config, "workerinput"):
        items.sort(key=_order)


def _order(item: pytest.Item) -> tuple[int, bool, bool]:
    short = is_heavy(item.path) and not any(item.get_closest_marker(name) for name in ("engine", "ray"))
    return _place(item), short, "engines" not in getattr(item, "fixturenames", ())


def _place(item: pytest.Item) -> int:
    """Of the item's group; single files come after all groups, long ones first, so that no worker is left with one at the end."""
    group = group_of(item.path, item.nodeid.partition("::")[0])
    return _GROUPS.index(group) if group in _GROUPS else len(_GROUPS) + (not is_long(item.path))


def pytest_sessionstart(session: pytest.Session) -> None:
    """A worker tells six times of each test. Where neither names nor durations are shown, three are enough: its result, and its end."""
    options = session.config.option
    if hasattr(session.config, "workerinput") and options.verbose <= 0 and not options.durations:
        (worker,) = (each for each in session.config.pluginmanager.get_plugins() if type(each).__name__ == "WorkerInteractor")
        worker.sendevent = functools.partial(_tell, worker.sendevent)


def _tell(send: Callable[..., None], name: str, **told: Any) -> None:
    report = told.get("data", {})
    if name != "logstart" and (name != "testreport" or report["when"] == "call" or report["outcome"] != "passed"):
        send(name, **told)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """What was imported and collected stays to the end: the collector of garbage need not look at it again and again."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A unit of work is a file, or a whole group. In the order above, not with the file of most tests first."""
    scheduler = importlib.import_module("xdist.scheduler")  # here: tests run without xdist, too

    class FilesAndOneGroup(scheduler.LoadScopeScheduling):  # type: ignore[misc,name-defined]  # untyped
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return group_of(config.rootpath / file, file)

        def _reschedule(self, node: Any) -> None:
            """xdist gives a worker its next unit when two tests are left, behind which a file would wait for minutes where they start
            engines. For the last but one it is early enough: a worker begins no test before it knows the next."""
            if self.workqueue and list(self.assigned_work[node].get(GROUP, {}).values()).count(False) > 1:
                return
            super()._reschedule(node)

    config.option.loadscopereorder = False
    return FilesAndOneGroup(config, log)
