"""How the tests are shared out among the worker processes of pytest-xdist (`-n`): file by file, so that a module's fixtures are made once.

Tests that start an engine, a Ray cluster or a browser are one group, which comes first and stays on one worker: at most one engine runs
at a time, and the engines of the plugin `engine` are shared among all of them. Without `-n` nothing of this applies.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

GROUP = "heavy"
HEAVY = ("engine", "ray", "browser")


def is_heavy(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in HEAVY)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before xdist's own hook, which writes the group behind the test's id."""
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        if is_heavy(item):
            item.add_marker(pytest.mark.xdist_group(GROUP))
    items.sort(key=lambda item: not is_heavy(item))  # stable: the group takes longest, so it begins at once


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A unit of work is a file, or the whole group. In the order above, not with the file of most tests first."""
    scheduler = importlib.import_module("xdist.scheduler")  # here: tests run without xdist, too

    class FilesAndOneGroup(scheduler.LoadScopeScheduling):  # type: ignore[misc,name-defined]  # untyped
        def _split_scope(self, nodeid: str) -> str:
            return GROUP if nodeid.endswith(f"@{GROUP}") else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return FilesAndOneGroup(config, log)
