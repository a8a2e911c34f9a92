from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.workload.arrivals import bursts, gamma_arrivals, ramp


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


@examples(25)
@given(rate=st.floats(0.1, 50), end=st.floats(0.1, 50), count=st.integers(2, 400), seed=st.integers(0, 99))
def test_a_ramp_has_the_rates_that_are_asked_for_at_its_ends_and_as_many_arrivals(rate: float, end: float, count: int, seed: int) -> None:
    even = gamma_arrivals(count, rate, math.inf, np.random.default_rng(seed))
    times = ramp(even, rate, end)
    assert np.all(np.diff(times) > 0)
    last = 2 * count / (rate + end)
    assert times[-1] == pytest.approx(last)
    due = rate * times + (end - rate) * times**2 / (2 * last)
    assert due == pytest.approx(np.arange(1, count + 1), rel=1e-6)


@examples(25)
@given(factor=st.floats(1.1, 20), every=st.floats(1, 60), share=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_bursts_come_in_the_last_seconds_of_each_period(factor: float, every: float, share: float, seed: int) -> None:
    length = every * share
    times = bursts(gamma_arrivals(4000, 20.0, 1.0, np.random.default_rng(seed)), factor, every, length)
    assert np.all(np.diff(times) >= 0)
    whole = np.floor(times[-1] / every)
    if whole >= 3:
        inside = times[times < whole * every]
        busy = np.mod(inside, every) >= every - length
        expected = factor * share / (factor * share + 1 - share)
        assert busy.mean() == pytest.approx(expected, abs=0.08)


def test_a_burst_of_no_more_and_a_ramp_to_the_same_change_nothing() -> None:
    times = gamma_arrivals(50, 3.0, 0.5, np.random.default_rng(1))
    assert ramp(times, 3.0, 3.0) == pytest.approx(times)
    assert bursts(times, 1.0, 10.0, 2.0) == pytest.approx(times)
