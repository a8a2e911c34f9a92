"""A host that measures something else than its peers claims nothing more, until it is released."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.base import Storage
from storage.queue_records import HostWindow, Quarantine, SubmissionState
from tests.storage.builders import a_measurement, stored_trial
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import config_of
from tuner.core.contract import WindowResult
from tuner.fleet.quarantine import findings, quarantine_drifting, readings
from tuner.fleet.requirements import Machine
from tuner.fleet.submission import submission_of
from tuner.fleet.worker import Place, Worker
from tuner.setup.space import Configuration
from tuner.stats.hosts import Standing

WINDOW = HostWindow(
    host="h",
    study_id=1,
    engine_start=1,
    launcher="local",
    model="m",
    workload_hash="w",
    environment="e",
    requested={"block_size": 16},
    started_at=0.0,
    metrics={"total_token_throughput": 100.0},
)
SPEEDS = {"a": 1.0, "b": 1.0, "c": 0.85}


def measure(storage: Storage, trial_id: int, starts: range) -> None:
    """Three windows in each engine start of each host; starts differ by half a percent."""
    now = storage.database_now()
    for nth, (host, speed) in enumerate(SPEEDS.items()):
        for start in starts:
            number = 100 * nth + start
            details = {"launcher": "local", "engine_start": number, "host": host}
            for window in range(3):
                metrics = {"total_token_throughput": 1000.0 * speed * (1 + 0.005 * (start % 2) + 0.001 * window)}
                made = a_measurement(trial_id, round=10 * number + window, started_at=now, metrics=metrics, details=details)
                storage.add_measurement(made)


def test_windows_of_one_start_are_one_reading_and_other_settings_another_question() -> None:
    faster = replace(WINDOW, metrics={"total_token_throughput": 120.0})
    (reading,) = readings([WINDOW, faster, replace(WINDOW, metrics={"total_token_throughput": 500.0})])
    assert reading.value == 120.0
    others: list[dict[str, Any]] = [{"requested": {"block_size": 32}}, {"environment": "f"}, {"workload_hash": "v"}, {"model": "n"}]
    assert len({item.question for item in readings([WINDOW, *(replace(WINDOW, **other) for other in others)])}) == 5
    unusable: list[dict[str, Any]] = [{"launcher": "table"}, {"launcher": "ray"}, {"engine_start": None}, {"metrics": {"ttft_p99_ms": 3.0}}]
    assert readings(replace(WINDOW, **other) for other in unusable) == []


def test_a_slow_host_is_put_into_quarantine_once_and_starts_anew_when_released(storage: Storage) -> None:
    trial = stored_trial(storage)
    measure(storage, trial.id, range(1))
    assert {item.standing for item in findings(storage).values()} == {Standing.UNDECIDED}, "one start says nothing"
    measure(storage, trial.id, range(1, 6))
    (held,) = quarantine_drifting(storage, "w1")
    assert (held.host, held.by) == ("c", "w1") and "beside its peers" in held.reason and held.details["starts"] == 6
    assert quarantine_drifting(storage, "w2") == []
    assert findings(storage).keys() == {"a", "b"}
    storage.release_host("c", by="ada")
    assert findings(storage).keys() == {"a", "b"}, "what it measured before counts no more"


@pytest.mark.slow
def test_a_worker_in_quarantine_claims_nothing_until_its_host_is_released(
    storage: Storage, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is put there while it works: it gives the study back after the window."""
    said: list[str] = []
    fan = Quarantine("tpu-7", "12 % slower", "w1")

    def hook(_configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if len(storage.list_quarantines(released=True)) == 1:
            storage.quarantine_host(fan)
            worker._hold.on_beat()  # type: ignore[union-attr]
        return result

    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher(on_measure=hook))
    storage.submit(submission_of(config_of(storage=sqlite_url, page_sizes=[16], chunk_budgets=[128]), "anna"))
    worker = Worker(storage, Machine("cpu", 1, {}), Place("w", "tpu-7", sqlite_url, str(tmp_path), poll_s=0.05), said.append)
    storage.quarantine_host(fan)
    assert worker.work(once=True) == [] == worker.work(once=True)
    assert storage.get_submission(1).state is SubmissionState.QUEUED
    assert [line for line in said if "quarantine" in line] == [
        "tpu-7 is in quarantine: 12 % slower; it claims nothing until `tuner queue release tpu-7`"
    ]
    storage.release_host("tpu-7", by="ada")
    assert worker.work(once=True) == [SubmissionState.QUEUED]
    (window,) = storage.list_measurements(study_id=storage.get_study("s").id)
    assert window.details["host"]
    assert worker.work(once=True) == []
