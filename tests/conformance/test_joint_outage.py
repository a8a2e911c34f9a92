"""Several workers on one study whose database goes away meanwhile, on both databases: nothing is lost, and nothing is measured twice.

The workers are threads with fake engines on one machine; the database is away for all of them at once, and only within a batch of six
windows: at its end a worker waits for the database.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.base import Storage, StorageUnavailable
from storage.queue_records import SubmissionState
from storage.sql.core import SqlCore
from tests.conformance.joint_work import Fleet, Killed, a_fleet, at_once, each_once, unless_killed
from tests.waiting import wait_until
from tuner.fleet.worker import Worker
from tuner.search.sharing import Share
from tuner.setup.space import Configuration
from tuner.trials.spool import read_spool, spool_files


@pytest.fixture
def fleet(each_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with a_fleet(each_url, str(tmp_path_factory.mktemp("profiles")), monkeypatch) as found:
        yield found


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is set the database answers no worker."""
    found = threading.Event()

    def guarded(method: Any) -> Any:
        @contextmanager
        def asked(self: Storage, what: str) -> Iterator[Any]:
            if found.is_set() and threading.current_thread() is not threading.main_thread():
                raise StorageUnavailable(f"{what}: the server is away")
            with method(self, what) as connection:
                yield connection

        return asked

    for name in ("_reading", "_writing"):
        monkeypatch.setattr(SqlCore, name, guarded(getattr(SqlCore, name)))
    return found


def kept(fleet: Fleet) -> int:
    """Windows in files of this machine."""
    return sum(len(read_spool(path).windows) for path in spool_files(Path(fleet.folder) / "spool"))


def measured_once(fleet: Fleet) -> None:
    windows = fleet.storage.list_measurements(study_id=fleet.storage.get_study("s").id)
    assert len(windows) == len(fleet.windows), "each window that was measured is stored, and none was measured again"
    assert spool_files(Path(fleet.folder) / "spool") == []
    each_once(fleet, 2)


@pytest.mark.slow
def test_what_the_database_could_not_take_is_stored_when_it_is_back(fleet: Fleet, away: threading.Event) -> None:
    at_once(fleet, 2)
    together, most, over = fleet.before, [0], threading.Event()

    def outage(name: str, configuration: Configuration) -> None:
        together(name, configuration)
        most[0] = max(most[0], kept(fleet))
        if most[0] >= 3:
            over.set()
            away.clear()
        elif len(fleet.windows) >= 2 and not over.is_set():
            away.set()

    fleet.before = outage
    submission = fleet.submit(workers=2)
    for name in ("w1", "w2"):
        fleet.start(name)
    assert fleet.ended(submission).state is SubmissionState.COMPLETE
    assert most[0] >= 3
    assert any("windows that were kept on this machine are in the database" in line for line in fleet.said)
    measured_once(fleet)


@pytest.mark.slow
def test_what_a_killed_worker_kept_is_stored_by_the_next_one_on_its_machine(
    fleet: Fleet, away: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, method in ((Share, "give_back"), (Worker, "_told")):  # who is killed gives nothing back
        monkeypatch.setattr(owner, method, unless_killed(getattr(owner, method), fleet))

    def outage(name: str, _configuration: Configuration) -> None:
        if name == "w1" and len(fleet.windows) == 1:
            away.set()
        if name == "w1" and len(fleet.windows) == 4:
            fleet.killed.add(name)
            raise Killed

    fleet.before = outage
    submission = fleet.submit(workers=2)
    fleet.start("w1", lease_s=2.0)
    wait_until(lambda: "w1" in fleet.killed and not fleet.threads[0].is_alive(), "w1 to be killed")
    assert kept(fleet) == 3
    away.clear()
    fleet.start("w2", lease_s=2.0)
    assert fleet.ended(submission).state is SubmissionState.COMPLETE
    measured_once(fleet)
