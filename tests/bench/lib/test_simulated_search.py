"""The simulated search: the code of a search on windows whose truth is known; and the noise that its rows promise."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from bench.lib import noise
from bench.lib.simulated_search import BUDGETS, METRIC, PAGES, Machine, simulated_study
from bench.lib.verdict_table import BARS, BEFORE, CELLS, Count, Row, count, rows
from bench.null_and_power import main, verdicts_table

QUIET = Machine(lambda rng, windows: 0.001 * rng.standard_normal((windows, 2)))
PLANTED = {(16, 512): math.log(1.10), (32, 1024): math.log(0.90)}


@pytest.mark.slow
def test_planted_cells_are_found_in_their_places_and_the_rest_is_equivalent() -> None:
    comparison, windows = simulated_study(np.random.default_rng(1), QUIET, PLANTED, 3, 8)
    verdicts = {(item.block_size, item.max_num_batched_tokens): item.verdict for item in comparison.comparisons}
    assert len(verdicts) == len(PAGES) * len(BUDGETS) and {item.metric for item in comparison.comparisons} == {METRIC}
    assert {cell: verdict for cell, verdict in verdicts.items() if verdict != "equivalent"} == {(16, 512): "better", (32, 1024): "worse"}
    assert 3 * 24 <= windows < 8 * 24, "cells stop when they are decided"


def test_fixed_rounds_are_all_measured() -> None:
    comparison, windows = simulated_study(np.random.default_rng(2), QUIET, {}, 4, 4)
    assert windows == 4 * 24 and {item.pairs for item in comparison.comparisons} == {4}


def test_a_step_of_the_machine_costs_no_pairs() -> None:
    """The rounds before the step are marked as drifted, and still make pairs."""
    stepped = Machine(lambda rng, windows: QUIET.noise(rng, windows) + math.log(0.85) * (np.arange(windows) >= 20)[:, None])
    comparison, _ = simulated_study(np.random.default_rng(3), stepped, dict.fromkeys(CELLS, math.log(1.05)), 8, 8)
    assert {item.pairs for item in comparison.comparisons} == {8}
    assert all(item.details["baseline_drift"]["kind"] == "shift" for item in comparison.comparisons)


def test_what_follows_the_other_arm_pays_once_a_pair() -> None:
    """Nothing but the effect of being second: it changes sign from round to round and cancels in the mean."""
    second = Machine(lambda rng, windows: np.zeros((windows, 2)), second=math.log(0.9))
    comparison, _ = simulated_study(np.random.default_rng(4), second, {}, 4, 4)
    assert [item.ratio for item in comparison.comparisons] == pytest.approx([1.0] * 12)
    assert all(item.low is not None and item.low < 0.95 for item in comparison.comparisons)


@pytest.mark.slow
def test_the_same_seed_is_the_same_study() -> None:
    one, other = (count(Machine(noise.bursts), 0.05, (3, 6), 2) for _ in range(2))
    assert one == other


SHARED = [
    noise.autoregressive,
    noise.heavy_tailed,
    noise.bursts,
    noise.bursts_of_one_arm,
    noise.unequal,
    noise.skewed_arm,
    noise.every_seventh,
    noise.normal,
]


@pytest.mark.parametrize("make", SHARED)
def test_the_typical_window_of_both_arms_is_the_same(make: noise.Noise) -> None:
    values = np.concatenate([make(np.random.default_rng(seed), 144) for seed in range(300)])
    medians = np.median(values, axis=0)
    assert values.shape == (300 * 144, 2) and abs(float(medians[0] - medians[1])) < 0.004


def test_runs_are_as_frequent_and_as_long_as_they_say() -> None:
    hit = [noise.bursts_in_runs(np.random.default_rng(seed), 600)[:, 0] < noise.BURST / 2 for seed in range(40)]
    begun = sum(int((row[1:] & ~row[:-1]).sum()) for row in hit)
    assert float(np.mean(hit)) == pytest.approx(0.15, abs=0.03)
    assert sum(int(row.sum()) for row in hit) / begun == pytest.approx(5, abs=1)


def test_recorded_noise_is_a_stretch_of_residuals_in_the_order_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "engine_windows_quiet.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["started_s", "block_size", "max_num_batched_tokens", "arm", "total_token_throughput"])
        for at, (arm, value) in enumerate(
            [("default", 100), ("page_aligned", 50), ("default", 200), ("page_aligned", 50), ("default", 100)]
        ):
            writer.writerow([at, 16, 128, arm, value])
        writer.writerow([9, 16, 128, "another arm", 1])
    monkeypatch.setattr(noise, "RECORDED", tmp_path)
    drawn = noise.recorded("quiet")(np.random.default_rng(0), 10)
    assert drawn[:, 0].tolist() == drawn[:, 1].tolist()
    assert sorted(drawn[:5, 0]) == pytest.approx([0, 0, 0, 0, math.log(2)])


def test_a_recording_that_is_not_there_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(noise, "RECORDED", tmp_path)
    found, left_out = rows()
    assert not any("recorded" in row.name for row in found) and len(left_out) == 2
    assert "recorded, quiet" in left_out[0] and "is not there" in left_out[0]


def test_every_bar_and_every_earlier_number_belongs_to_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "recorded", lambda name: noise.normal)
    names = {row.name for row in rows()[0]}
    assert names >= BARS.keys() and names == BEFORE.keys()


@pytest.mark.parametrize(("wrong", "rare"), [(0, True), (15, True), (22, True), (40, False)])
def test_wrong_studies_are_rare_up_to_the_error_of_so_many(wrong: int, rare: bool) -> None:
    assert Count(300, wrong, 0.0, 24.0).rare is rare


@pytest.mark.parametrize(("found", "percent", "reached"), [(0.95, 95, True), (0.94, 95, True), (0.90, 95, False), (0.0, 0, True)])
def test_a_bar_is_reached_up_to_the_error_of_the_simulation(found: float, percent: float, reached: bool) -> None:
    assert Count(60, 0, found, 20.0).reaches(percent) is reached


@pytest.mark.slow
def test_a_missed_bar_is_said_and_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Noise of 30 %: nothing can be found."""
    loud = Row("loud", Machine(lambda rng, windows: 0.3 * rng.standard_normal((windows, 2))), {}, {0.03: 95})
    monkeypatch.setattr("bench.null_and_power.rows", lambda: ([loud], ["recorded, quiet: not there"]))
    assert not verdicts_table(2, 1)
    assert "MISSED" in capsys.readouterr().out
    assert main(["--quick", "--rows", "nothing has this name"]) == 0
    assert "left out: recorded, quiet" in capsys.readouterr().out


@pytest.mark.slow
def test_the_bars_of_three_rows_from_few_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verdicts", "--studies", "40", "--power-studies", "6", "--rows", "normal,step,bursts"]) == 0
    assert capsys.readouterr().out.count(" met") >= 5
