from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.stats.drift import (
    _inversion_counts,
    _split_t,
    detect_drift,
    kendall_p,
    outlier_rounds,
    round_levels,
    theil_sen_slope,
    without_disturbed,
)


def series(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def noisy(rounds: int, seed: int, sd: float = 0.01) -> list[float]:
    return [float(100 * math.exp(value)) for value in sd * np.random.default_rng(seed).standard_normal(rounds)]


def test_kendall_p_is_exact() -> None:
    """Against counting all orders: 5 values in order can happen 2 ways in 120."""
    assert kendall_p([1, 2, 3, 4, 5]) == pytest.approx(2 / 120)
    observed = [2, 1, 3, 5, 4]

    def score(order: tuple[int, ...]) -> int:
        return sum(int(np.sign(b - a)) for a, b in itertools.combinations(order, 2))

    extreme = sum(abs(score(order)) >= abs(score(tuple(observed))) for order in itertools.permutations(observed))
    assert kendall_p(observed) == pytest.approx(extreme / 120)
    assert kendall_p([1.0, 1.0, 1.0]) == 1.0


def test_inversions_are_counted() -> None:
    """Against counting them in all orders of five items."""
    found = [sum(a > b for a, b in itertools.combinations(order, 2)) for order in itertools.permutations(range(5))]
    assert _inversion_counts(5) == tuple(found.count(inversions) for inversions in range(11))


def test_the_statistic_of_a_shift_is_students_two_sample_t() -> None:
    values = np.random.default_rng(2).standard_normal((3, 9))
    for row, statistics in zip(values, _split_t(values), strict=True):
        for split in range(2, 8):
            left, right = row[:split], row[split:]
            pooled = (((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum()) / 7
            plain = abs(right.mean() - left.mean()) / math.sqrt(pooled * (1 / split + 1 / (9 - split)))
            assert statistics[split - 2] == pytest.approx(plain)


def test_theil_sen_ignores_one_wild_point() -> None:
    assert theil_sen_slope([0, 1, 2, 3, 4], [0.0, 2.0, 4.0, 6.0, 900.0]) == pytest.approx(2.0)


def test_a_trend_is_found_with_its_size() -> None:
    values = [value * 1.01**i for i, value in enumerate(noisy(10, 1, 0.002))]
    report = detect_drift(series(values))
    assert report.drifted and report.kind == "trend"
    assert report.trend_ratio == pytest.approx(1.01**9, rel=0.01)
    assert 0 in report.drifted_rounds and 9 in report.drifted_rounds and 5 not in report.drifted_rounds


def test_a_level_shift_is_found_where_it_happened() -> None:
    values = [value * (0.9 if i >= 7 else 1.0) for i, value in enumerate(noisy(10, 2, 0.005))]
    report = detect_drift(series(values))
    assert report.drifted and report.kind == "shift" and report.shift_after_round == 6
    assert report.shift_ratio == pytest.approx(0.9, rel=0.02)
    assert report.drifted_rounds == (7, 8, 9)


def test_a_significant_but_tiny_drift_is_left_alone() -> None:
    report = detect_drift(series([100 * 1.0005**i for i in range(10)]))
    assert report.trend_p is not None and report.trend_p < 0.001
    assert not report.drifted and report.drifted_rounds == ()


def test_steady_baselines_are_rarely_called_drifted() -> None:
    called = sum(detect_drift(series(noisy(10, seed, 0.03))).drifted for seed in range(300))
    assert called <= 0.08 * 300


@pytest.mark.parametrize("values", [[], [1.0] * 4, [1.0, math.nan, 2.0, 0.0, -1.0, 3.0]])
def test_too_few_rounds_say_nothing(values: list[float]) -> None:
    report = detect_drift(series(values))
    assert not report.drifted and report.trend_p is None


@examples(40)
@given(st.lists(st.floats(50, 200), min_size=5, max_size=12), st.floats(1e-3, 1e3))
def test_drift_treats_up_and_down_alike_and_knows_no_unit(values: list[float], factor: float) -> None:
    report = detect_drift(series(values))
    flipped = detect_drift(series([factor / value for value in values]))
    assert report.trend_p == pytest.approx(flipped.trend_p)
    assert report.trend_ratio is not None and flipped.trend_ratio is not None
    assert report.trend_ratio * flipped.trend_ratio == pytest.approx(1, rel=1e-6)


def settings_with(disturbed: int, factor: float, settings_count: int = 6) -> dict[str, dict[int, float]]:
    return {
        f"s{i}": {n: value * (i + 1) * (factor if n == disturbed else 1.0) for n, value in enumerate(noisy(8, i, 0.004))}
        for i in range(settings_count)
    }


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_disturbed_round_is_found_on_either_side(factor: float) -> None:
    assert outlier_rounds(settings_with(3, factor)) == {3}


def test_an_undisturbed_study_has_no_outlier_and_few_rounds_never_do() -> None:
    assert outlier_rounds(settings_with(3, 1.0)) == frozenset()
    few = {name: {n: value for n, value in rounds.items() if n < 4} for name, rounds in settings_with(3, 0.5).items()}
    assert outlier_rounds(few) == frozenset()


def test_the_outlier_rule_knows_no_arm() -> None:
    """Exchanging the names of two settings, or the values of two settings in one round up to their level, changes nothing."""
    values = settings_with(3, 0.8)
    renamed = {f"x{name}": values[name] for name in reversed(values)}
    assert outlier_rounds(renamed) == outlier_rounds(values)
    baseline, candidate = noisy(8, 1), noisy(8, 2)
    plain = {"default": series(baseline), "page_aligned": series(candidate)}
    swapped = {"default": series(candidate), "page_aligned": series(baseline)}
    assert round_levels(plain) == pytest.approx(round_levels(swapped))


def test_an_effect_of_one_arm_is_no_outlier() -> None:
    values = settings_with(3, 1.0)
    faster = {name: {n: v * (1.3 if name in ("s0", "s1", "s2") else 1.0) for n, v in rounds.items()} for name, rounds in values.items()}
    assert outlier_rounds(faster) == frozenset()


def test_round_levels_leave_out_what_has_no_logarithm() -> None:
    assert round_levels({"a": {0: 1.0, 1: 0.0, 2: math.inf, 3: 1.0}, "b": {0: -1.0}}) == {0: 0.0, 3: 0.0}


@pytest.mark.parametrize(
    ("hit", "out"), [({3}, {3}), ({0}, {0}), ({3, 6}, {3, 6}), ({3, 4}, set()), ({0, 1, 2}, set()), ({5, 6, 7}, set())]
)
def test_only_a_round_on_its_own_is_disturbed(hit: set[int], out: set[int]) -> None:
    """Where the level stays, the machine has changed: a step or a warm-up, that both arms of a pair share."""
    values = {name: {n: (0.8 if n in hit else 1.0) * (100 + 0.1 * ((n + place) % 3)) for n in range(8)} for place, name in enumerate("abc")}
    assert outlier_rounds(values) == out


def test_two_rounds_off_to_different_sides_are_two_disturbances() -> None:
    values = {name: {n: {3: 80.0, 4: 120.0}.get(n, 100 + 0.1 * ((n + place) % 3)) for n in range(8)} for place, name in enumerate("abc")}
    assert outlier_rounds(values) == {3, 4}


@pytest.mark.parametrize(("pairs", "left"), [(11, 10), (12, 12)])
def test_from_twelve_pairs_on_the_estimate_bears_disturbed_rounds_itself(pairs: int, left: int) -> None:
    assert len(without_disturbed({number: 0.01 * number for number in range(pairs)}, {3})) == left
