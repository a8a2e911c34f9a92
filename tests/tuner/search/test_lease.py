"""One process at a time runs a study; a dead process's lease is taken over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tuner.core.errors import BadInput, StudyTaken
from tuner.search.lease import STALE_AFTER_S, Lease


class Attributes:
    """Attributes in memory."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def attribute(self, name: str) -> Any:
        return self.values.get(name)

    def set_attribute(self, name: str, value: Any) -> None:
        self.values[name] = value


def lease(store: Attributes, folder: Path, now_s: float = 1000.0) -> Lease:
    return Lease(store, "lease", "s", folder / "locks", now=lambda: now_s)


def holder(**changes: Any) -> dict[str, Any]:
    found = {
        "token": "x",
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "process_started_at": psutil.Process().create_time(),
        "heartbeat": 0.0,
    }
    return {**found, **changes}


def test_the_second_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    store = Attributes()
    first = lease(store, tmp_path)
    first.claim()
    with pytest.raises(BadInput, match=rf"study 's' is being run by process {os.getpid()} on "):
        lease(store, tmp_path).claim()
    first.release()
    first.release()
    second = lease(store, tmp_path)
    second.claim()
    second.release()


def test_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    store = Attributes()
    store.values["lease"] = holder(pid=int(child.stdout), heartbeat=1000.0)
    taken = lease(store, tmp_path)
    taken.claim()
    assert store.values["lease"]["pid"] == os.getpid()
    taken.release()


def test_another_process_under_a_reused_id_is_not_the_holder(tmp_path: Path) -> None:
    store = Attributes()
    store.values["lease"] = holder(process_started_at=psutil.Process().create_time() - 3600, heartbeat=1000.0)
    taken = lease(store, tmp_path)
    taken.claim()
    assert store.values["lease"]["process_started_at"] == psutil.Process().create_time(), "it is ours now"
    taken.release()


def test_another_machine_is_believed_until_it_falls_silent(tmp_path: Path) -> None:
    store = Attributes()
    store.values["lease"] = holder(host="elsewhere", heartbeat=1000.0)
    with pytest.raises(BadInput, match="on elsewhere"):
        lease(store, tmp_path, now_s=1000.0 + STALE_AFTER_S - 1).claim()
    taken = lease(store, tmp_path, now_s=1000.0 + STALE_AFTER_S + 1)
    taken.claim()
    taken.release()


def test_one_of_many_that_claim_at_once_gets_it(tmp_path: Path) -> None:
    store, got, refused = Attributes(), [], []
    barrier = threading.Barrier(5)

    def claim() -> None:
        mine = lease(store, tmp_path)
        barrier.wait()
        try:
            mine.claim()
        except BadInput as error:
            refused.append(error)
        else:
            got.append(mine)

    threads = [threading.Thread(target=claim) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 4)
    got[0].release()


def test_a_machine_that_writes_at_the_same_instant_wins_or_loses_never_both(tmp_path: Path) -> None:
    """The other one's token comes between our writing and our reading again."""

    class Raced(Attributes):
        def set_attribute(self, name: str, value: Any) -> None:
            super().set_attribute(name, {**value, "token": "theirs"})

    with pytest.raises(BadInput, match="was taken by another process just now"):
        lease(Raced(), tmp_path).claim()


def test_the_heartbeat_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.search.lease.HEARTBEAT_S", 0.01)
    beaten = threading.Event()

    class Watched(Attributes):
        writes = 0

        def set_attribute(self, name: str, value: Any) -> None:
            super().set_attribute(name, value)
            self.writes += 1
            if self.writes == 3:
                beaten.set()

    mine = lease(Watched(), tmp_path)
    mine.claim()
    assert beaten.wait(timeout=20)
    mine.release()


def test_a_lock_folder_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("")
    with pytest.raises(BadInput, match="set TUNER_CACHE"):
        Lease(Attributes(), "lease", "s", tmp_path / "locks" / "below").claim()


def test_one_that_was_taken_over_finds_out_and_leaves_the_lease_to_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine slept; meanwhile another machine took the study."""
    monkeypatch.setattr("tuner.search.lease.HEARTBEAT_S", 0.01)
    store = Attributes()
    mine = lease(store, tmp_path)
    mine.claim()
    mine.check()
    theirs = holder(token="theirs", host="elsewhere", pid=7)
    deadline = time.monotonic() + 20
    while mine._taken_by is None and time.monotonic() < deadline:
        store.values["lease"] = theirs  # again: at this rate a heartbeat may just have been on its way
        time.sleep(0.01)
    with pytest.raises(StudyTaken, match=r"study 's' was taken over by process 7 on elsewhere"):
        mine.check()
    mine.release()
    assert store.values["lease"] == theirs
