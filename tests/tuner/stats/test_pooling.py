from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.metrics.catalog import Direction
from tuner.stats.intervals import Verdict, judge
from tuner.stats.pooling import pool
from tuner.stats.samples import Sample, sample_of
from tuner.stats.sequential import InterimPlan

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
samples = st.lists(st.builds(Sample, st.integers(2, 12), st.floats(-0.2, 0.2), st.floats(0.001, 0.1)), min_size=1, max_size=10)


def test_no_cell_no_effect() -> None:
    assert pool([], UP) is None


def test_one_cell_is_its_own_interval() -> None:
    values = [0.02, 0.05, 0.03, 0.01]
    pooled, alone = pool([sample_of(values)], UP), judge(values, UP)
    assert pooled is not None and pooled.method == "mean_of_cells"
    assert (pooled.ratio, pooled.low, pooled.high) == pytest.approx((alone.ratio, alone.low, alone.high))


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [3, 7])
def test_one_cell_that_was_looked_at_again_and_again_is_its_own_corrected_interval(rounds: int) -> None:
    """Otherwise the study would say "turn it on" of one cell whose verdict is inconclusive."""
    values, plan = [0.02, 0.05, 0.03, 0.01, 0.04, 0.02, 0.03][:rounds], InterimPlan(3, 24)
    pooled, alone, once = pool([sample_of(values)], UP, plan=plan), judge(values, UP, plan=plan), judge(values, UP)
    assert pooled is not None and once.low is not None
    assert (pooled.low, pooled.high) == pytest.approx((alone.low, alone.high)) and pooled.verdict is alone.verdict
    assert pooled.low < once.low


def test_cells_before_the_first_look_are_left_out() -> None:
    early, enough = Sample(2, 0.5, 0.01), Sample(5, 0.0, 0.01)
    assert pool([early], UP, plan=InterimPlan(3, 24)) is None
    both = pool([early, enough], UP, plan=InterimPlan(3, 24))
    assert both is not None and both == pool([enough], UP, plan=InterimPlan(3, 24)) and both.cells == 1


@pytest.mark.slow
def test_an_interval_without_bounds_is_no_interval() -> None:
    assert pool([Sample(2, 0.3, 1.0)], UP, plan=InterimPlan(2, 12)) is None


def test_cells_that_agree_have_no_spread_and_a_known_error() -> None:
    """Four cells, mean 0.03 each, noise 0.02 over 4 pairs: error 0.02 / sqrt(16), t(3) = 3.182."""
    pooled = pool([Sample(4, 0.03, 0.02)] * 4, UP)
    assert pooled is not None and pooled.method == "random_effects" and pooled.between_sd == 0
    assert math.log(pooled.high) - math.log(pooled.ratio) == pytest.approx(3.182446 * 0.02 / 4, rel=1e-5)
    assert pooled.verdict is Verdict.BETTER and (pooled.cells, pooled.pairs) == (4, 16)


def test_cells_that_disagree_widen_the_interval() -> None:
    apart = [Sample(5, mean, 0.001) for mean in (-0.05, 0.0, 0.05)]
    pooled = pool(apart, UP)
    assert pooled is not None and pooled.between_sd == pytest.approx(0.05, rel=0.01)
    assert pooled.ratio == pytest.approx(1.0) and pooled.verdict is Verdict.INCONCLUSIVE


@pytest.mark.slow
def test_the_interval_covers_under_real_spread_between_cells() -> None:
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(300):
        rows = 0.03 * rng.standard_normal((8, 1)) + 0.02 * rng.standard_normal((8, 5))
        pooled = pool([sample_of(row.tolist()) for row in rows], UP)
        held += pooled is not None and pooled.low <= 1 <= pooled.high
    assert 0.91 <= held / 300 <= 0.99


@pytest.mark.slow
@examples(60)
@given(samples)
def test_swapping_the_arms_inverts_and_order_does_not_matter(cells: list[Sample]) -> None:
    pooled, swapped = pool(cells, UP), pool([Sample(s.pairs, -s.mean, s.sd) for s in reversed(cells)], UP)
    assert pooled is not None and swapped is not None
    assert (swapped.ratio, swapped.low, swapped.high) == pytest.approx((1 / pooled.ratio, 1 / pooled.high, 1 / pooled.low), rel=1e-6)
    assert pooled.low <= pooled.ratio <= pooled.high


@examples(40)
@given(samples)
def test_direction_only_names_the_verdict(cells: list[Sample]) -> None:
    up, down = pool(cells, UP), pool(cells, DOWN)
    assert up is not None and down is not None and (up.low, up.high) == (down.low, down.high)
    swap = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    assert down.verdict is swap.get(up.verdict, up.verdict)


def test_identical_values_do_not_divide_by_zero() -> None:
    pooled = pool([Sample(3, 0.0, 0.0)] * 4, UP)
    assert pooled is not None and pooled.verdict is Verdict.EQUIVALENT and pooled.ratio == 1.0
