"""One process at a time runs a study; the lease of a process that is gone is taken over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from storage.base import LeaseLost, Storage, StorageUnavailable
from storage.records import Lease, Study
from tests.storage.builders import a_study
from tests.storage.raw import url_of
from tests.waiting import wait_until
from tuner.core.errors import BadInput, StudyTaken
from tuner.search.lease import STALE_AFTER_S, StudyLease

ROOT = Path(__file__).parents[3]
CLAIMING = """
import sys, time
from storage.upgrade import open_storage
from tuner.core.errors import BadInput
from tuner.search.lease import StudyLease
storage = open_storage(sys.argv[1], create=False)
lease = StudyLease(storage, storage.get_study("first"))
print("ready", flush=True)
sys.stdin.readline()
try:
    lease.claim()
    print("got", flush=True)
except BadInput as error:
    print(error, flush=True)
sys.stdin.readline()
lease.release()
"""


@pytest.fixture
def study(storage: Storage) -> Study:
    return storage.create_study(a_study())


def lease(storage: Storage, study: Study, now_s: float = 1000.0) -> StudyLease:
    return StudyLease(storage, study, now=lambda: now_s)


def holder(study: Study, **changes: Any) -> Lease:
    values: dict[str, Any] = {
        "token": "x",
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "process_started_at": psutil.Process().create_time(),
        "heartbeat": 0.0,
    }
    return Lease(study.id, **values | changes)


def held_by(storage: Storage, study: Study) -> Lease:
    found = storage.get_lease(study.id)
    assert found is not None
    return found


def dead_pid() -> int:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    return int(child.stdout)


def test_the_second_is_refused_and_told_who_has_it(storage: Storage, study: Study) -> None:
    first = lease(storage, study)
    first.claim()
    with pytest.raises(BadInput, match=rf"study 'first' is being run by process {os.getpid()} on "):
        lease(storage, study).claim()
    first.release()
    first.release()
    second = lease(storage, study)
    second.claim()
    second.release()
    assert storage.get_lease(study.id) is None


def test_a_dead_process_is_taken_over(storage: Storage, study: Study) -> None:
    storage.swap_lease(study.id, None, holder(study, pid=dead_pid(), heartbeat=1000.0))
    taken = lease(storage, study)
    taken.claim()
    assert held_by(storage, study).pid == os.getpid()
    taken.release()


def test_another_process_under_a_reused_id_is_not_the_holder(storage: Storage, study: Study) -> None:
    storage.swap_lease(study.id, None, holder(study, process_started_at=psutil.Process().create_time() - 3600, heartbeat=1000.0))
    taken = lease(storage, study)
    taken.claim()
    assert held_by(storage, study).process_started_at == psutil.Process().create_time(), "it is ours now"
    taken.release()


def test_another_machine_is_believed_until_it_falls_silent(storage: Storage, study: Study) -> None:
    storage.swap_lease(study.id, None, holder(study, host="elsewhere", heartbeat=1000.0))
    with pytest.raises(BadInput, match="on elsewhere"):
        lease(storage, study, now_s=1000.0 + STALE_AFTER_S - 1).claim()
    taken = lease(storage, study, now_s=1000.0 + STALE_AFTER_S + 1)
    taken.claim()
    taken.release()


def test_the_record_of_an_older_version_counts_as_long_as_its_process_lives(storage: Storage, study: Study) -> None:
    with pytest.raises(BadInput, match=f"is being run by process {os.getpid()}"):
        lease(storage, study).claim(holder(study))
    assert storage.get_lease(study.id) is None
    taken = lease(storage, study)
    taken.claim(holder(study, pid=dead_pid()))
    taken.release()


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "a dead lease"])
def test_of_processes_that_claim_at_once_exactly_one_gets_it(each_storage: Storage, left: str) -> None:
    study = each_storage.create_study(a_study())
    if left == "a dead lease":
        each_storage.swap_lease(study.id, None, holder(study, pid=dead_pid()))
    command = [sys.executable, "-c", CLAIMING, url_of(each_storage)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    pipes = [(process.stdin, process.stdout) for process in processes if process.stdin is not None and process.stdout is not None]
    assert [answers.readline() for _, answers in pipes] == ["ready\n"] * 3
    for orders, _ in pipes:
        orders.write("claim\n")
        orders.flush()
    said = [answers.readline().strip() for _, answers in pipes]
    assert said.count("got") == 1
    assert all(line == "got" or "is being run by process" in line or "was taken by another process just now" in line for line in said)
    winner = processes[said.index("got")]
    assert held_by(each_storage, study).pid == winner.pid
    for process in processes:
        assert process.communicate("release\n", timeout=60)[1] == ""
    assert each_storage.get_lease(study.id) is None


def test_one_that_was_overtaken_between_look_and_claim_is_told(storage: Storage, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    found = storage.get_lease

    def overtaken(study_id: int) -> Lease | None:
        seen = found(study_id)
        storage.swap_lease(study_id, None, holder(study, token="theirs", host="elsewhere"))
        return seen

    monkeypatch.setattr(storage, "get_lease", overtaken)
    with pytest.raises(BadInput, match="was taken by another process just now"):
        lease(storage, study).claim()
    assert found(study.id) == holder(study, token="theirs", host="elsewhere")


def test_the_heartbeat_goes_on(storage: Storage, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.search.lease.HEARTBEAT_S", 0.01)
    times = iter(range(1000, 100_000))
    mine = StudyLease(storage, study, now=lambda: float(next(times)))
    mine.claim()
    wait_until(lambda: held_by(storage, study).heartbeat >= 1003, "a heartbeat")
    mine.check()
    mine.release()
    assert storage.get_lease(study.id) is None


def test_one_that_slept_until_the_study_was_over_does_not_take_it_back(
    storage: Storage, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine took the study, ended it and let it go."""
    monkeypatch.setattr("tuner.search.lease.HEARTBEAT_S", 0.01)
    mine = lease(storage, study)
    mine.claim()
    fenced = mine.fence(storage)
    assert fenced.update_study(study.id, engine_starts=1).engine_starts == 1
    assert storage.swap_lease(study.id, held_by(storage, study).token, None)
    with pytest.raises(LeaseLost, match="taken over"):
        fenced.update_study(study.id, engine_starts=2)

    def told() -> bool:
        try:
            mine.check()
        except StudyTaken as error:
            return "by a process that has ended" in str(error)
        return False

    wait_until(told, "the lease tells that it is over")
    mine.release()
    assert storage.get_lease(study.id) is None
    assert storage.get_study_by_id(study.id).engine_starts == 1


def test_one_that_was_taken_over_finds_out_and_leaves_the_lease_to_the_other(
    storage: Storage, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine slept; meanwhile another machine took the study."""
    monkeypatch.setattr("tuner.search.lease.HEARTBEAT_S", 0.01)
    mine = lease(storage, study)
    mine.claim()
    mine.check()
    theirs = holder(study, token="theirs", host="elsewhere", pid=7)
    assert storage.swap_lease(study.id, held_by(storage, study).token, theirs)

    def told() -> bool:
        try:
            mine.check()
        except StudyTaken as error:
            return "study 'first' was taken over by process 7 on elsewhere" in str(error)
        return False

    wait_until(told, "the lease tells that it was taken over")
    mine.release()
    assert held_by(storage, study) == theirs


def test_a_database_that_is_away_does_not_hide_why_a_run_ended(storage: Storage, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = lease(storage, study)
    mine.claim()

    def gone(*_arguments: object) -> bool:
        raise StorageUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "swap_lease", gone)
        mine.release()
    again = lease(storage, study)
    again.claim()  # by this process, which lives: it could not let it go and does not hold it
    again.release()
    assert not [thread for thread in threading.enumerate() if thread.name == "study-lease"]
