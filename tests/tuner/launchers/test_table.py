from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev

import pytest

from tests.tuner.launchers.tables import LIVE, PLAN, SETTINGS, write_table
from tuner.core.contract import LiveSettings
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.launchers.measured_table import Noise
from tuner.launchers.table import TableLauncher
from tuner.metrics.window import window_metrics

THROUGHPUT = "total_token_throughput"


@pytest.fixture
def launcher(tmp_path: Path) -> TableLauncher:
    return TableLauncher(write_table(tmp_path))


def test_a_window_carries_the_row_and_nothing_else(launcher: TableLauncher) -> None:
    window = launcher.open(SETTINGS, 60).measure(LIVE[0], PLAN, 60)
    assert window.reported_metrics == {THROUGHPUT: 126.0, "ttft_p99_ms": 57.0}
    assert window_metrics(window) == window.reported_metrics
    assert (window.requests, window.steps, window.duration_s) == ((), (), 0.5)


def test_time_is_accounted_and_not_slept(launcher: TableLauncher) -> None:
    session = launcher.open(SETTINGS, 60)
    assert session.report.start_s == 8
    session.measure(LIVE[0], PLAN, 60)
    assert session.measure(LIVE[1], PLAN, 60).details["virtual_time_s"] == 9.0
    assert launcher.clock.now_s == 9.0


def test_a_start_over_its_time_is_a_time_out_that_cost_just_that_time(launcher: TableLauncher) -> None:
    with pytest.raises(TrialFailed, match="starting block_size=16 takes 8 s") as caught:
        launcher.open(SETTINGS, 3)
    assert caught.value.failure is FailureClass.TIMEOUT
    assert launcher.clock.now_s == 3


def test_an_engine_that_never_starts_fails_with_its_class_and_costs_its_start(launcher: TableLauncher) -> None:
    with pytest.raises(TrialFailed, match="no room for 512 pages") as caught:
        launcher.open(replace(SETTINGS, block_size=128), 60)
    assert caught.value.failure is FailureClass.OUT_OF_MEMORY
    assert caught.value.log_excerpt == "no room for 512 pages"
    assert launcher.clock.now_s == 20


def test_a_crash_ends_the_session_and_another_failure_does_not(launcher: TableLauncher) -> None:
    settings = replace(SETTINGS, block_size=32)
    session = launcher.open(settings, 60)
    with pytest.raises(TrialFailed, match="3 of 20 requests failed") as caught:
        session.measure(LiveSettings("page_aligned", 256), PLAN, 60)
    assert caught.value.failure is FailureClass.REQUEST_FAILED
    assert session.measure(LiveSettings("default", 256), PLAN, 60).reported_metrics[THROUGHPUT] == 130
    with pytest.raises(EngineLost, match="bus error"):
        session.measure(LiveSettings("page_aligned", 128), PLAN, 60)
    with pytest.raises(EngineLost, match=r"this engine is gone: .*bus error"):
        session.measure(LiveSettings("default", 256), PLAN, 60)
    assert launcher.open(settings, 60).measure(LiveSettings("default", 256), PLAN, 60).reported_metrics[THROUGHPUT] == 130


def test_what_is_not_in_the_table_names_the_nearest(launcher: TableLauncher) -> None:
    with pytest.raises(BadInput, match="no engine with block_size=64; the nearest is block_size=32"):
        launcher.open(replace(SETTINGS, block_size=64), 60)
    with pytest.raises(BadInput, match="the nearest is block_size=16 max_num_batched_tokens=256 arm=default"):
        launcher.open(SETTINGS, 60).measure(LiveSettings("default", 240), PLAN, 60)


@pytest.mark.slow
def test_noise_differs_between_measurements_and_repeats_between_runs(tmp_path: Path) -> None:
    path = write_table(tmp_path)

    def measured(seed: int, interleaved: bool = False) -> list[float]:
        session = TableLauncher(path, noise=Noise("multiplicative", 0.02), seed=seed).open(SETTINGS, 60)
        values = []
        for _ in range(200):
            if interleaved:
                session.measure(LIVE[1], PLAN, 60)
            values.append(float(session.measure(LIVE[0], PLAN, 60).reported_metrics[THROUGHPUT]))
        return values

    values = measured(1)
    assert len(set(values)) == 200
    assert fmean(values) == pytest.approx(126, rel=0.005)
    assert pstdev(values) / 126 == pytest.approx(0.02, rel=0.2)
    assert measured(1, interleaved=True) == values
    assert measured(2) != values


def test_a_running_limit_is_read_from_its_column(tmp_path: Path) -> None:
    text = "block_size,max_num_batched_tokens,arm,max_num_seqs,request_throughput\n16,128,default,4,1\n16,128,default,8,2\n"
    session = TableLauncher(write_table(tmp_path, text)).open(SETTINGS, 60)
    assert session.measure(LiveSettings("default", 128, max_num_seqs=4), PLAN, 60).reported_metrics == {"request_throughput": 1.0}
    assert session.measure(LiveSettings("default", 128), PLAN, 60).reported_metrics == {"request_throughput": 2.0}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("block_size,arm,request_throughput\n16,default,1\n", "no column max_num_batched_tokens; the table launcher needs"),
        ("block_size,max_num_batched_tokens,arm,colour,request_throughput\n16,128,default,red,1\n", "column 'colour' is neither a setting"),
        ("block_size,max_num_batched_tokens,arm,speed+\n16,128,default,1\n", "metric 'speed' is unknown"),
    ],
)
def test_tables_that_are_no_engine_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        TableLauncher(write_table(tmp_path, text))
