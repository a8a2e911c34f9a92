from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.workload.lengths import draw_lengths
from tuner.workload.sources import FixedLength, LognormalLength, UniformLength


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_fixed() -> None:
    assert draw_lengths(FixedLength(value=7), 3, _rng()) == [7, 7, 7]


@examples(40)
@given(low=st.integers(1, 1000), span=st.integers(0, 1000), seed=st.integers(0, 2**32))
def test_uniform_stays_inside(low: int, span: int, seed: int) -> None:
    lengths = draw_lengths(UniformLength(low=low, high=low + span), 50, _rng(seed))
    assert len(lengths) == 50
    assert all(low <= length <= low + span for length in lengths)


def test_uniform_reaches_both_ends_equally() -> None:
    counts = np.bincount(draw_lengths(UniformLength(low=1, high=4), 8000, _rng()))
    assert counts[0] == 0
    assert counts[1:].tolist() == pytest.approx([2000] * 4, rel=0.1)


def test_lognormal_has_its_median_and_spread_and_stays_inside() -> None:
    lengths = np.array(draw_lengths(LognormalLength(median=500, sigma=0.5, low=10, high=100_000), 20_000, _rng()))
    assert np.median(lengths) == pytest.approx(500, rel=0.03)
    assert np.log(lengths).std() == pytest.approx(0.5, rel=0.03)
    clipped = draw_lengths(LognormalLength(median=500, sigma=2.0, low=400, high=600), 1000, _rng())
    assert min(clipped) == 400
    assert max(clipped) == 600
