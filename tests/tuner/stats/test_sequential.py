from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.core.errors import BadInput
from tuner.stats.samples import t_of_rows
from tuner.stats.sequential import InterimPlan, _fast_p
from tuner.stats.student import two_sided_p

PLAN = InterimPlan(3, 12)


def ever_rejected(rows: np.ndarray, plan: InterimPlan, level: float) -> float:
    """Fraction of rows of [N x rounds] in which any analysis's interval misses 0."""
    missed = np.zeros(len(rows), dtype=bool)
    for n in range(plan.first, plan.last + 1):
        t, df = t_of_rows(rows[:, :n])
        missed |= two_sided_p(t, df) < plan.level_at(n, level)
    return float(missed.mean())


@pytest.mark.slow
def test_all_looks_together_keep_the_level_and_uncorrected_ones_do_not() -> None:
    rows = np.random.default_rng(1).standard_normal((20_000, 24))
    for plan in (PLAN, InterimPlan(3, 24), InterimPlan(3, 6)):
        assert ever_rejected(rows, plan, 0.05) == pytest.approx(0.05, abs=0.006)
    t_by_look = [(rows[:, :n].mean(axis=1) / (rows[:, :n].std(axis=1, ddof=1) / np.sqrt(n)), n) for n in range(3, 13)]
    uncorrected = np.any([two_sided_p(t, n - 1) < 0.05 for t, n in t_by_look], axis=0).mean()
    assert uncorrected > 0.15


def test_tiny_levels_fall_back_to_bonferroni_which_is_below_the_level() -> None:
    levels = [PLAN.level_at(n, 1e-6) for n in range(3, 13)]
    assert sum(levels) == pytest.approx(1e-6)


def test_one_look_costs_nothing() -> None:
    assert InterimPlan.single(5).level_at(5, 0.05) == 0.05
    assert InterimPlan.between(5, 5) is None
    assert InterimPlan.between(3, 5) == InterimPlan(3, 5)


@pytest.mark.slow
@examples(30)
@given(st.integers(3, 20), st.floats(1e-5, 0.5), st.floats(1e-5, 0.5))
def test_levels_grow_with_rounds_and_with_the_overall_level_and_stay_below_it(rounds: int, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert PLAN.level_at(rounds, small) <= PLAN.level_at(rounds, large)
    assert PLAN.level_at(rounds, small) <= PLAN.level_at(rounds + 1, small) <= small


@examples(100)
@given(st.sampled_from([PLAN, InterimPlan(3, 24), InterimPlan(3, 6), InterimPlan.single(5)]), st.integers(3, 30), st.floats(1e-7, 0.9))
def test_the_overall_level_is_the_smallest_that_reaches_an_intervals_own(plan: InterimPlan, rounds: int, own: float) -> None:
    overall = plan.overall(max(rounds, plan.first), own)
    if overall < 1:
        assert plan.level_at(max(rounds, plan.first), min(overall * (1 + 1e-9), 0.999999)) >= own * (1 - 1e-9)
        assert plan.level_at(max(rounds, plan.first), overall * (1 - 1e-6)) <= own * (1 + 1e-9)
    else:
        assert plan.level_at(max(rounds, plan.first), 0.99999) <= own * (1 + 1e-9)


def test_before_the_first_look_there_is_no_interval() -> None:
    with pytest.raises(ValueError, match="before the first analysis"):
        PLAN.level_at(2, 0.05)
    with pytest.raises(ValueError, match="before the first analysis"):
        PLAN.overall(2, 0.05)


@pytest.mark.parametrize(("first", "last"), [(1, 5), (5, 4), (0, 0)])
def test_impossible_plans_are_refused(first: int, last: int) -> None:
    with pytest.raises(BadInput, match="rounds"):
        InterimPlan(first, last)


@pytest.mark.parametrize("df", [2, 3, 10, 23, 99])
def test_interpolated_p_values_are_the_exact_ones(df: int) -> None:
    t = np.concatenate([np.linspace(0, 15, 3001), -np.geomspace(1e-3, 300, 500)])
    exact = two_sided_p(t, df)
    seen = exact > 1e-6  # rarer than any simulated minimum
    assert np.max(np.abs(_fast_p(t, df)[seen] / exact[seen] - 1)) < 1e-3
