"""The bench itself: its methods against known answers, and its use on measured A/A data."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench.lib.simulate import (
    NOISES,
    autoregressive,
    coverage_of_methods,
    covered,
    log_ratios,
    measured_at,
    normal,
    paired_positions,
    race_once,
    shuffled_positions,
    student_interval,
)
from bench.null_and_power import main
from tuner.metrics.catalog import Direction
from tuner.stats.intervals import judge


def test_the_vectorised_interval_is_the_products() -> None:
    rows = np.random.default_rng(1).standard_normal((5, 6)) / 100
    low, high = student_interval(rows, 0.05)
    for index, row in enumerate(rows):
        effect = judge(row.tolist(), Direction.MAXIMIZE)
        assert effect.low is not None and effect.high is not None
        assert (math.log(effect.low), math.log(effect.high)) == pytest.approx((low[index], high[index]))


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_centred_with_deviation_one(name: str) -> None:
    values = NOISES[name](np.random.default_rng(2), (200_000,))
    assert float(values.mean()) == pytest.approx(0, abs=0.02) and float(values.std()) == pytest.approx(1, abs=0.15)


def test_percentile_bootstrap_under_covers_where_student_does_not() -> None:
    rng = np.random.default_rng(3)
    fractions, _ = coverage_of_methods(rng, log_ratios(rng, normal, (600, 5)), 200)
    assert fractions["Student t"] > 0.92 and fractions["percentile"] < 0.88 and fractions["BCa"] < 0.88
    assert covered(student_interval(log_ratios(rng, normal, (20_000, 5)), 0.05)) == pytest.approx(0.95, abs=0.006)


def test_a_race_spends_less_than_the_grid() -> None:
    survived, fraction = race_once(np.random.default_rng(4), [0.0, -0.3, -0.3, -0.3], [0.01] * 4, normal, 8)
    assert survived and fraction < 0.7


def test_a_window_gets_the_noise_of_its_moment_and_pays_for_following_the_other_arm() -> None:
    windows = np.array([[0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]])
    positions = np.array([[[1.0, 0.0, 2.0, 3.0], [0.0, 2.0, 3.0, 1.0]]])  # of configurations a, a', b, b' in two rounds
    assert measured_at(windows, positions).tolist() == [[[1, 0, 2, 3], [10, 12, 13, 11]]]
    assert measured_at(windows, positions, second=0.5).tolist() == [[[1.5, 0, 2, 3.5], [10, 12, 13, 11]]]


@pytest.mark.slow
def test_arms_side_by_side_share_what_drifts_and_order_effects_cancel() -> None:
    """Why tuner.trials.rounds.round_order is what it is."""
    rng = np.random.default_rng(5)
    spread = {}
    for positions_of in (shuffled_positions, paired_positions):
        logs = measured_at(autoregressive(rng, (400, 6 * 6)), positions_of(rng, 400, 6, 3))
        arms = logs[..., 1::2] - logs[..., ::2]
        spread[positions_of] = float(arms.std())
        assert covered(student_interval(arms.transpose(0, 2, 1).reshape(-1, 6), 0.05)) == pytest.approx(0.95, abs=0.025)
    assert spread[paired_positions] < 0.8 * spread[shuffled_positions]
    late = measured_at(np.zeros((50, 36)), paired_positions(rng, 50, 6, 3), second=1.0)
    assert float(np.abs(late[..., 1::2] - late[..., ::2]).min()) == 1.0
    assert (late[..., 1::2] - late[..., ::2]).mean(axis=1) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("bias", "status"), [(0.0, 0), (0.5, 1)])
def test_measured_a_a_data_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str], bias: float, status: int) -> None:
    rng = np.random.default_rng(6)
    cells = {f"cell {i}": [math.exp(bias + 0.02 * value) for value in rng.standard_normal(5)] for i in range(10)}
    (tmp_path / "ratios.json").write_text(json.dumps(cells))
    assert main(["--ratios", str(tmp_path / "ratios.json")]) == status
    assert "of 10 A/A cells called better or worse" in capsys.readouterr().out
