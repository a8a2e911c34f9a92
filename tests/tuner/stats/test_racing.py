from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.metrics.catalog import Direction
from tuner.stats.racing import cannot_win, race
from tuner.stats.sequential import InterimPlan

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
PLAN = InterimPlan(3, 12)


def values(levels: dict[str, float], rounds: int, sd: float = 0.005, seed: int = 1) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(seed)
    return {name: {n: level * math.exp(sd * rng.standard_normal()) for n in range(rounds)} for name, level in levels.items()}


def test_clear_losers_are_dropped_and_ties_stay() -> None:
    data = values({"best": 100, "tied": 99.5, "loser": 80, "far_off": 50}, rounds=5)
    result = race(data, UP, plan=PLAN)
    assert result.leader in ("best", "tied")
    assert result.active == ("best", "tied") and result.dropped.keys() == {"loser", "far_off"}
    drop = result.dropped["loser"]
    assert drop.pairs == 5 and drop.ratio < drop.optimistic_ratio < 0.98


def test_a_latency_is_raced_the_other_way_round() -> None:
    result = race(values({"slow": 120, "fast": 80}, rounds=5), DOWN, plan=PLAN)
    assert result.leader == "fast" and result.active == ("fast",)


def test_nothing_is_dropped_before_the_first_look() -> None:
    assert race(values({"a": 100, "b": 10}, rounds=2), UP, plan=PLAN).active == ("a", "b")
    assert race(values({"a": 100, "b": 10}, rounds=3), UP, plan=PLAN).active == ("a",)


def test_the_baseline_is_kept() -> None:
    result = race(values({"a": 100, "baseline": 10}, rounds=6), UP, keep=("baseline",), plan=PLAN)
    assert result.active == ("a", "baseline") and result.dropped == {}


def test_inactive_settings_stay_out_but_count_for_the_level() -> None:
    data = values({"a": 100, "b": 60, "gone": 300}, rounds=5)
    result = race(data, UP, active=("a", "b"), plan=PLAN)
    assert result.leader == "a" and result.active == ("a",)
    two = race({name: data[name] for name in ("a", "b")}, UP, plan=PLAN)
    assert result.dropped["b"].level < two.dropped["b"].level


def test_settings_without_values_stay() -> None:
    assert race({"a": {}, "b": {}}, UP, plan=PLAN).leader is None
    result = race({"a": {0: 1.0, 1: 1.1, 2: 1.0, 3: 1.05}, "new": {}}, UP, plan=PLAN)
    assert result.leader == "a" and result.active == ("a", "new")


def test_drift_common_to_all_settings_does_not_matter() -> None:
    data = values({"best": 100, "loser": 90}, rounds=6, sd=0.002)
    drifting = {name: {n: v * 1.1**n for n, v in rounds.items()} for name, rounds in data.items()}
    plain, drifted = race(data, UP, plan=PLAN), race(drifting, UP, plan=PLAN)
    assert plain.active == drifted.active == ("best",)
    assert drifted.dropped["loser"].optimistic_ratio == pytest.approx(plain.dropped["loser"].optimistic_ratio)


@pytest.mark.slow
def test_a_setting_inside_the_tie_band_is_rarely_dropped() -> None:
    """Ten rivals all 2 % better: the setting is exactly at the edge, and may be dropped in 5 % of races."""
    lost = 0
    for seed in range(60):
        data = values({"edge": 100.0} | {f"r{i}": 100 / 0.98 for i in range(10)}, rounds=12, sd=0.02, seed=seed)
        active: tuple[str, ...] = tuple(data)
        for n in range(3, 13):
            seen = {name: {k: v for k, v in rounds.items() if k < n} for name, rounds in data.items()}
            active = race(seen, UP, active=active, plan=PLAN).active
        lost += "edge" not in active
    assert lost <= 0.1 * 60


@examples(40)
@given(st.lists(st.floats(50, 150), min_size=2, max_size=6), st.integers(3, 8), st.floats(0.01, 100), st.integers(0, 9))
def test_neither_the_unit_nor_the_sense_matters(levels: list[float], rounds: int, factor: float, seed: int) -> None:
    data = values({f"s{i}": level for i, level in enumerate(levels)}, rounds, sd=0.01, seed=seed)
    plain = race(data, UP, plan=PLAN)
    inverse = race({name: {n: factor / v for n, v in series.items()} for name, series in data.items()}, DOWN, plan=PLAN)
    assert inverse.leader == plain.leader and inverse.active == plain.active
    assert plain.leader in plain.active


def wrongly_ended(engine_sd: float, studies: int = 300) -> float:
    """Fraction of studies that end the true best, tied with 23 others on other engines, at any analysis after their best was measured."""
    rng, wrong = np.random.default_rng(7), 0
    for _ in range(studies):
        others = np.exp(engine_sd * rng.standard_normal((23, 1)) + 0.02 * rng.standard_normal((23, 24)))
        incumbent = others[others.mean(axis=1).argmax()].tolist()
        own = np.exp(engine_sd * rng.standard_normal() + 0.02 * rng.standard_normal(24)).tolist()
        wrong += any(cannot_win(incumbent, own[:count], Direction.MAXIMIZE, rivals=24, plan=InterimPlan()) for count in range(3, 25))
    return wrong / studies


@pytest.mark.slow
@pytest.mark.parametrize("engine_sd", [0.0, 0.01])
def test_the_best_is_hardly_ever_ended_by_the_best_of_another_engine(engine_sd: float) -> None:
    assert wrongly_ended(engine_sd) <= 0.05


@pytest.mark.slow
def test_what_is_far_behind_the_best_of_another_engine_ends_at_the_first_look() -> None:
    best, slow = [100.0, 101.0, 99.0, 100.5], [70.0, 70.5, 69.5]
    assert cannot_win(best, slow, Direction.MAXIMIZE, rivals=24, plan=InterimPlan())
    assert cannot_win(slow, best, Direction.MINIMIZE, rivals=24, plan=InterimPlan())
    assert not cannot_win(best, slow[:2], Direction.MAXIMIZE, rivals=24, plan=InterimPlan())
    assert not cannot_win(slow, best, Direction.MAXIMIZE, rivals=24, plan=InterimPlan())


def test_who_may_not_lead_drops_nobody() -> None:
    data = values({"fast": 100, "slow": 50}, rounds=5)
    assert race(data, UP, plan=PLAN, may_lead=["slow"]).dropped == {}
    assert race(data, UP, plan=PLAN, may_lead=[]).leader is None
