"""Beginning a study: several processes on a database that is not there yet, and whoever is stopped meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage.base import StorageUnavailable
from storage.records import StudyState
from storage.upgrade import open_storage
from tests.tuner.workbench import Workbench
from tests.waiting import PATIENCE_S
from tuner.core.errors import Interrupted
from tuner.metrics.catalog import Direction
from tuner.search.lease import StudyLease
from tuner.trials.optuna_record import OptunaRecord

ROOT = Path(__file__).parents[3]
AT_ONCE = 4
SEARCH = """
import sys
from pathlib import Path
from tests.tuner.workbench import Workbench
from storage.upgrade import open_storage
print("ready", flush=True)
sys.stdin.readline()
open_storage(sys.argv[1]).close()
outcome = Workbench(sys.argv[1], Path(sys.argv[2])).run(study=sys.argv[3], page_sizes=[16], chunk_budgets=[128])
print(outcome.study.state, flush=True)
"""


@pytest.mark.slow
def test_first_searches_on_a_database_that_is_not_there_all_succeed(each_url: str, tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SEARCH, each_url, str(tmp_path), f"s{number}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(AT_ONCE)
    ]
    for process in running:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=PATIENCE_S) for process in running]
    assert [out for out, _ in said] == ["COMPLETE\n"] * AT_ONCE, [error[-2000:] for _, error in said]


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_optunas_tables_are_made_once_however_many_want_them(each_url: str, attempt: int) -> None:
    del attempt
    open_storage(each_url).close()
    start = threading.Barrier(2 * AT_ONCE)

    def begin(number: int) -> int:
        start.wait(PATIENCE_S)
        record = OptunaRecord(each_url, f"s{number}", [Direction.MAXIMIZE], {})
        try:
            return len(record.running())
        finally:
            record.close()

    with ThreadPoolExecutor(2 * AT_ONCE) as pool:
        assert list(pool.map(begin, range(2 * AT_ONCE))) == [0] * 2 * AT_ONCE


@pytest.mark.slow
@pytest.mark.parametrize("where", ["tuner.search.opening.OptunaRecord", "tuner.search.opening.StudyLease.claim"])
def test_a_search_that_dies_while_it_opens_leaves_no_running_study(bench: Workbench, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """As kill -9 does: nothing of it is run any more."""

    class Killed(BaseException):
        pass

    def die(*_arguments: Any, **_options: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(where, die)
        with pytest.raises(Killed):
            bench.run()
    assert bench.storage.get_study("s").state is StudyState.INTERRUPTED
    assert bench.run(resume=True).study.state is StudyState.COMPLETE


@pytest.mark.slow
def test_a_database_that_fails_while_the_study_opens_is_told_with_what_is_there(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_arguments: Any, **_options: Any) -> Any:
        raise StorageUnavailable("connection refused", "start it")

    with monkeypatch.context() as patch:
        patch.setattr("tuner.search.opening.OptunaRecord", gone)
        with pytest.raises(StorageUnavailable, match=r"connection refused; start it; study 's' is begun: .* with --resume"):
            bench.run()
    assert bench.storage.get_study("s").state is StudyState.INTERRUPTED
    bench.run(resume=True)
    with monkeypatch.context() as patch:
        patch.setattr("tuner.search.opening.OptunaRecord", gone)
        with pytest.raises(StorageUnavailable) as caught:
            bench.run(resume=True)
    assert str(caught.value) == "connection refused; start it"  # it was there before


def test_who_stops_the_opening_is_told_how_to_go_on(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = StudyLease.claim

    def claimed_and_stopped(self: StudyLease, *arguments: Any) -> None:
        claim(self, *arguments)
        self.release()
        raise KeyboardInterrupt  # not by SIGINT, which a process started in the background ignores

    with monkeypatch.context() as patch:
        patch.setattr(StudyLease, "claim", claimed_and_stopped)
        with pytest.raises(Interrupted, match="--resume"):
            bench.run()
    study = bench.storage.get_study("s")
    assert (study.state, bench.storage.get_lease(study.id)) == (StudyState.INTERRUPTED, None)
