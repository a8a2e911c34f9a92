"""The estimate of a typical pair: the mean of few, Yuen's trimmed mean of many; one rule for a list and for rows of an array."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.stats.samples import (
    ROBUST_FROM,
    UNBOUNDED,
    Sample,
    expected_at,
    noise_floor,
    sample_of,
    t_of_rows,
    trimmed_at,
    typical_of,
)


def test_few_pairs_are_their_mean() -> None:
    values = [0.1, 0.2, 0.3, 5.0]
    assert typical_of(values) == sample_of(values) and typical_of(values).df == 3


def test_yuens_standard_error_by_hand() -> None:
    """12 values, 2 left out at each end: the mean of 3..10 is 6.5; winsorised 3, 3, 3, 4, ... 9, 10, 10, 10 has squares 85; 8 kept."""
    sample = typical_of([float(value) for value in (12, 1, 2, 11, *range(3, 11))])
    assert (sample.mean, sample.trimmed, sample.df) == (6.5, 2, 7)
    squares = sum((value - 6.5) ** 2 for value in (3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10))
    assert sample.standard_error == pytest.approx(math.sqrt(squares / (8 * 7)))


def test_a_fifth_of_wild_windows_on_one_side_moves_little() -> None:
    rng = np.random.default_rng(1)
    clean = [float(value) for value in 0.02 * rng.standard_normal(20)]
    wild = [*clean[:16], -0.4, -0.35, -0.5, -0.3]
    assert abs(typical_of(wild).mean) < 0.02 < abs(sample_of(wild).mean)
    assert typical_of(wild).standard_error < 0.5 * sample_of(wild).standard_error


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_rows_are_judged_as_lists_are(seed: int, pairs: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((4, pairs))
    t, df = t_of_rows(rows)
    for row, found in zip(rows, t, strict=True):
        sample = typical_of(row.tolist())
        assert df == sample.df and found == pytest.approx(sample.mean / sample.standard_error, rel=1e-9)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=30))
def test_a_swap_of_the_arms_only_turns_the_sign(values: list[float]) -> None:
    one, other = typical_of(values), typical_of([-value for value in values])
    assert other.mean == pytest.approx(-one.mean, abs=1e-15) and other.sd == pytest.approx(one.sd, abs=1e-12)


@pytest.mark.parametrize("pairs", [2, 6, 11, 12, 20])
def test_the_forecast_of_now_is_now(pairs: int) -> None:
    values = [float(value) for value in np.random.default_rng(2).standard_normal(pairs)]
    assert expected_at(values, pairs) == typical_of(values)


def test_a_forecast_to_many_rounds_already_leaves_the_wild_ones_out() -> None:
    """Six pairs, one of them hit: by 24 rounds it will be trimmed, so it must not make the cell look hopeless."""
    values = [0.05, 0.045, 0.055, 0.06, 0.05, -0.3]
    assert expected_at(values, 24).trimmed == 4 and expected_at(values, 24).sd < 0.1 * expected_at(values, 8).sd


def test_trimming_begins_where_enough_are_left() -> None:
    assert [trimmed_at(pairs) for pairs in (2, ROBUST_FROM - 1, ROBUST_FROM, 15, 24)] == [0, 0, 2, 3, 4]


@pytest.mark.parametrize(("noises", "floor"), [([], 0.0), ([1.0, 2.0], 0.0), ([0.0, 0.0, 1.0, 2.0], 0.0), ([1.0, 2.0, 9.0], 1.0)])
def test_the_floor_is_half_of_the_median_noise_of_three_cells_or_more(noises: list[float], floor: float) -> None:
    assert noise_floor(Sample(5, 0.0, noise) for noise in noises) == floor
    assert Sample(5, 0.1, 0.4).at_least(floor).sd == max(0.4, floor)


def test_without_noise_only_the_value_itself_is_held() -> None:
    assert (Sample(4, 0.1, 0.0).p_at(0.1), Sample(4, 0.1, 0.0).p_at(0.0)) == (1.0, 0.0)
    assert Sample(4, 2 * UNBOUNDED, 1.0).p_at(0.0) == Sample(4, UNBOUNDED, 1.0).p_at(0.0)


@pytest.mark.parametrize("values", [[], [0.1]])
def test_one_pair_is_no_sample(values: list[float]) -> None:
    for estimate in (typical_of, sample_of, lambda found: expected_at(found, 24)):
        with pytest.raises(ValueError, match="two pairs"):
            estimate(values)
