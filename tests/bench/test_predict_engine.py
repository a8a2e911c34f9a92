"""The machinery of predicted against measured, on the real engine. Not its accuracy: two rounds say nothing about that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.lib.recorded_windows import Grid, Place, read, record
from bench.predict_engine import FOLDS, METRICS, by_place, judged, predicted_values, print_places, print_sums, typical, values
from tuner.core.contract import ARMS, RequestRecord, StepRecord, WindowResult

pytestmark = pytest.mark.usefixtures("shared_simulation_host", "shared_engine_host")

WORKLOAD = "synthetic:input=20-200,output=4-12,requests=6,concurrency=4"
GRID = Grid(pages=(32,), budgets=(64, 128), seqs=(8,), workloads=(WORKLOAD,))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recorded") / "windows.jsonl.gz"
    record(GRID, file, rounds=2, most_s=300.0)
    return file


@pytest.mark.engine
def test_what_was_measured_is_kept_with_every_step_and_token(recorded: Path) -> None:
    grid, windows = read(recorded)
    assert (grid.pages, grid.budgets, grid.workloads) == (GRID.pages, GRID.budgets, GRID.workloads)
    assert grid.device
    places = [(item.place, item.round) for item in windows]
    assert sorted(places) == sorted(
        (Place(32, budget, 8, arm, WORKLOAD), number) for budget in (64, 128) for arm in ARMS for number in (0, 1)
    )
    for item in windows:
        assert sum(step.prefill_requests > 0 for step in item.window.steps) >= 2
        assert len(item.window.requests) == 6 and all(request.token_times_s for request in item.window.requests)


@pytest.mark.engine
def test_each_configuration_is_predicted_from_the_others_and_shown(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, windows = read(recorded)
    done = typical(by_place(windows))
    assert all(len(some) == 1 for some in done.values())  # a closed loop: the same steps in each round
    found = judged(grid.workloads, values(done), predicted_values(grid, done, FOLDS["cell"]), FOLDS["cell"])
    assert [each.metric for each in found] == list(METRICS)
    for each in found:
        assert len(each.items) == 4 and {item.fold for item in each.items} == {(32, 64, 8), (32, 128, 8)}
        assert all(1 / 30 < item.predicted / item.measured < 30 for item in each.items), each  # the same unit; a busy machine does the rest
    print_places(WORKLOAD, found)
    print_sums("all", found)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("| 32 | 64 |", "| 32 | 128 |")) for line in lines) == 4


def window(factor: float) -> WindowResult:
    """One request whose two tokens come from two steps; everything takes `factor` times as long."""
    steps = [StepRecord(0.0, 0.01 * factor, 40, 64, 40, 1, 0), StepRecord(0.011 * factor, 0.004 * factor, 1, 16, 0, 0, 1)]
    request = RequestRecord("r", 40, 0.0, 0.0, (0.01 * factor, 0.015 * factor), 0.015 * factor)
    return WindowResult((request,), tuple(steps), 0.0, 0.015 * factor)


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_one_slow_window_of_three_does_not_count(slow: int) -> None:
    place = Place(16, 128, 8, "default", "w")
    windows = {place: [window(10.0 if number == slow else 1.0) for number in range(3)]}
    expected = {"mean_step_ms": 7.0, "total_token_throughput": 42 / 0.015, "ttft_p50_ms": 10.0}
    for found in (values(windows), values(typical(windows))):
        assert found[place] == pytest.approx(expected, rel=0.01)


def test_windows_of_an_open_loop_that_did_not_do_the_same_stay_what_they_are() -> None:
    place, one = Place(16, 128, 8, "default", "w"), window(1.0)
    other = replace(one, steps=one.steps[:1])
    assert typical({place: [one, other]}) == {place: [one, other]}
