from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.workload.arrivals import gamma_arrivals


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@examples(60)
@given(
    count=st.integers(1, 500),
    rate=st.floats(0.01, 1000),
    burstiness=st.floats(0.2, 50),
    seed=st.integers(0, 2**32),
)
def test_times_ascend_and_keep_the_mean_rate_exactly(count: int, rate: float, burstiness: float, seed: int) -> None:
    times = gamma_arrivals(count, rate, burstiness, _rng(seed))
    assert len(times) == count
    assert times[0] >= 0
    assert np.all(np.diff(times) >= 0)
    assert times[-1] == pytest.approx(count / rate)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0, 25.0])
def test_gaps_vary_as_the_gamma_distribution_says(burstiness: float) -> None:
    gaps = np.diff(gamma_arrivals(40_000, 5.0, burstiness, _rng(1)), prepend=0.0)
    assert gaps.mean() == pytest.approx(0.2, rel=1e-9)
    assert gaps.std() / gaps.mean() == pytest.approx(1 / math.sqrt(burstiness), rel=0.05)


def test_burstiness_one_is_a_poisson_process() -> None:
    times = gamma_arrivals(20_000, 50.0, 1.0, _rng(2))
    per_second = np.bincount(times.astype(int), minlength=400)[:400]
    assert per_second.var() / per_second.mean() == pytest.approx(1.0, abs=0.25)  # Fano factor; se = sqrt(2 / 400) = 0.07
    gaps = np.diff(times)
    assert float(np.mean(gaps > 0.02)) == pytest.approx(math.exp(-1), abs=0.02)


def test_infinite_rate_sends_all_at_once_and_infinite_burstiness_is_even() -> None:
    assert gamma_arrivals(5, math.inf, 1.0, _rng()).tolist() == [0.0] * 5
    assert gamma_arrivals(4, 2.0, math.inf, _rng()).tolist() == pytest.approx([0.5, 1.0, 1.5, 2.0])


def test_gaps_that_underflow_to_nothing_do_not_become_nan() -> None:
    assert np.all(np.isfinite(gamma_arrivals(3, 1.0, 1e-300, _rng())))


@pytest.mark.parametrize(("count", "rate", "burstiness"), [(0, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, 0.0), (1, math.nan, 1.0)])
def test_nonsense_is_refused(count: int, rate: float, burstiness: float) -> None:
    with pytest.raises(ValueError, match="request_rate > 0"):
        gamma_arrivals(count, rate, burstiness, _rng())
