"""Several threads and processes at once: nobody sees "database is locked", nothing is lost, every race has one winner."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.base import Conflict, Storage
from storage.records import TrialState
from tests.storage.builders import a_comparison, a_lease, a_measurement, a_study, a_trial, stored_study, stored_trial
from tests.storage.raw import raw_connection, url_of
from tests.storage.writer import write_trial
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]


def _outcomes(calls: list[Callable[[], object]]) -> Counter[str]:
    """Run all calls at once; count "ok" and the names of the errors."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> str:
        barrier.wait()
        try:
            call()
        except Exception as error:  # noqa: BLE001  # whatever it is, its name is the outcome
            return type(error).__name__
        return "ok"

    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(pool.map(run, calls))


@pytest.mark.slow
def test_threads_write_and_read(each_storage: Storage) -> None:
    study = stored_study(each_storage)
    writers, each = 6, 8
    ended: list[int] = []

    def write(writer: int) -> None:
        try:
            for number in range(writer * each, (writer + 1) * each):
                write_trial(each_storage, study.id, number)
        finally:
            ended.append(writer)

    def read() -> None:
        while len(ended) < writers:
            counts = each_storage.count_trials(study.id)
            complete = each_storage.list_trials(study.id, state=TrialState.COMPLETE)
            assert counts[TrialState.COMPLETE] <= len(complete)
            assert all(trial.values == {"throughput": trial.number} for trial in complete)

    calls: list[Callable[[], object]] = [lambda writer=writer: write(writer) for writer in range(writers)]  # type: ignore[misc]
    assert _outcomes([*calls, read, read]) == {"ok": writers + 2}
    assert [trial.number for trial in each_storage.list_trials(study.id)] == list(range(writers * each))
    assert len(each_storage.list_measurements(study_id=study.id)) == writers * each


@pytest.mark.slow
def test_processes_write_while_we_read(each_storage: Storage) -> None:
    study, each = stored_study(each_storage), 20
    command = [sys.executable, "-m", "tests.storage.writer", url_of(each_storage)]
    processes = [
        subprocess.Popen([*command, str(place * each), str(each)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for place in range(2)
    ]
    while any(process.poll() is None for process in processes):
        for measurement in each_storage.list_measurements(study_id=study.id)[-2:]:
            assert measurement.metrics == a_measurement(0).metrics
        time.sleep(0.01)
    for process in processes:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    assert each_storage.count_trials(study.id)[TrialState.COMPLETE] == 2 * each


def test_a_reader_does_not_wait_and_a_writer_does(storage: Storage) -> None:
    """SQLite, with another process's write transaction open."""
    trial = stored_trial(storage)
    began = time.monotonic()
    with raw_connection(url_of(storage)) as other, ThreadPoolExecutor(1) as pool:
        other.execute(text("UPDATE tuner_studies SET engine_starts = 7"))
        pending = pool.submit(storage.start_trial, trial.id)
        assert storage.get_study("first").engine_starts == 0
        assert time.monotonic() - began < 20.0  # the writer may wait for 30
        time.sleep(0.2)
        assert not pending.done()
        other.commit()
        assert pending.result(timeout=PATIENCE_S).state is TrialState.RUNNING
    assert storage.get_study("first").engine_starts == 7


def test_a_trial_is_finished_once(each_storage: Storage) -> None:
    for number in range(5):
        trial = stored_trial(each_storage, number)
        calls: list[Callable[[], object]] = [
            *[lambda: each_storage.finish_trial(trial.id, TrialState.COMPLETE, values={"x": 1})] * 3,  # noqa: B023
            *[lambda: each_storage.finish_trial(trial.id, TrialState.FAIL, error_class="timeout")] * 3,  # noqa: B023
        ]
        assert _outcomes(calls) == {"ok": 1, "Conflict": 5}


def test_a_name_and_a_number_are_taken_once(each_storage: Storage) -> None:
    study = stored_study(each_storage)
    assert _outcomes([lambda: each_storage.create_study(a_study(name="new"))] * 6) == {"ok": 1, "Conflict": 5}
    assert _outcomes([lambda: each_storage.create_trial(a_trial(study.id, 0))] * 6) == {"ok": 1, "Conflict": 5}


def test_content_is_put_by_many_at_once(each_storage: Storage) -> None:
    assert _outcomes([lambda: stored_study(each_storage)] * 6) == {"ok": 1, "Conflict": 5}


@pytest.mark.slow
@pytest.mark.parametrize("held", [None, "old"])
def test_a_lease_is_taken_once(each_storage: Storage, held: str | None) -> None:
    study = stored_study(each_storage)
    for number in range(5):
        each_storage.swap_lease(study.id, f"t{number - 1}-won" if number else None, None)
        if held is not None:
            assert each_storage.swap_lease(study.id, None, a_lease(study.id, held))
        tokens = [f"t{number}-{place}" for place in range(6)]
        calls = [lambda token=token: each_storage.swap_lease(study.id, held, a_lease(study.id, token)) for token in tokens]
        barrier = threading.Barrier(len(calls))

        def run(call: Callable[[], bool], barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            won = list(pool.map(run, calls))
        lease = each_storage.get_lease(study.id)
        assert sum(won) == 1 and lease is not None and lease.token == tokens[won.index(True)]
        assert each_storage.swap_lease(study.id, lease.token, a_lease(study.id, f"t{number}-won"))


def test_replacements_never_mix(each_storage: Storage) -> None:
    study = stored_study(each_storage)

    def replace(writer: int) -> None:
        each_storage.replace_comparisons(study.id, [a_comparison(study.id, pairs=writer)] * (writer + 1))

    calls: list[Callable[[], object]] = [lambda writer=writer: replace(writer) for writer in range(6)]  # type: ignore[misc]
    for _ in range(4):
        assert _outcomes(calls) == {"ok": 6}
        [(writer, count)] = Counter(comparison.pairs for comparison in each_storage.list_comparisons(study.id)).items()
        assert count == writer + 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_gets_connections_of_its_own(each_storage: Storage) -> None:
    study = stored_study(each_storage)
    write_trial(each_storage, study.id, 0)
    child = multiprocessing.get_context("fork").Process(target=write_trial, args=(each_storage, study.id, 1))
    child.start()
    write_trial(each_storage, study.id, 2)
    child.join(timeout=PATIENCE_S)
    assert child.exitcode == 0
    write_trial(each_storage, study.id, 3)
    assert each_storage.count_trials(study.id)[TrialState.COMPLETE] == 4


def test_a_lost_race_names_what_is_taken(each_storage: Storage) -> None:
    stored_study(each_storage)
    with pytest.raises(Conflict, match="study 'first': already stored"):
        each_storage.create_study(a_study())
