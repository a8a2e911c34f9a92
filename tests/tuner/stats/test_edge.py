"""Where a noisy curve crosses its limit, from a few windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.stats.edge import Count, Posterior, Ratio, Reading, Side, log_gamma, posterior

LOADS = (2.0, 8.0, 4.0, 5.0, 4.5, 4.7, 4.9)
EDGE = 4.6


def _ratios(slope: float, noise: float = 0.0, seed: int = 0) -> list[tuple[float, Reading]]:
    random = np.random.default_rng(seed)
    return [(load, Ratio(slope * math.log(load / EDGE) + noise * random.normal())) for load in LOADS]


def _of(readings: list[tuple[float, Reading]], low: float = 1.0, high: float = 16.0) -> Posterior:
    return posterior([readings], low, high)


@pytest.mark.parametrize("slope", [0.5, 2.0, 10.0])
def test_a_curve_without_noise_is_found_where_it_crosses(slope: float) -> None:
    found = _of(_ratios(slope)).estimate()
    assert found.edge == pytest.approx(EDGE, rel=0.01)
    assert found.low < EDGE < found.high < 1.1 * EDGE


def test_the_queues_own_curve_is_found_too() -> None:
    """M/M/1 with a capacity of 6: time in the system over its limit is (6 - edge) / (6 - load)."""
    readings: list[tuple[float, Reading]] = [(load, Ratio(math.log((6 - EDGE) / (6 - load)))) for load in LOADS if load < 6]
    assert _of(readings).estimate().edge == pytest.approx(EDGE, rel=0.02)


def test_more_noise_makes_a_wider_interval() -> None:
    quiet, loud = (_of(_ratios(2.0, noise, seed=3)).estimate() for noise in (0.02, 0.3))
    assert quiet.half_width < 0.06 < loud.half_width


def test_one_disturbed_window_costs_little() -> None:
    readings = [*_ratios(2.0, 0.02, seed=1), (4.4, Ratio(2.5))]
    assert _of(readings).estimate().edge == pytest.approx(EDGE, rel=0.03)


def test_counts_tell_the_edge_of_all_requests_together() -> None:
    """Half of the windows at the edge have none of the slow requests, the others twice as many as are allowed."""
    readings: list[tuple[float, Reading]] = [(2.0, Count(0, 1000, 0.01, -1.5)), (9.0, Count(400, 1000, 0.01, 1.5))]
    readings += [(EDGE, Count(20 * (nth % 2), 1000, 0.01, 0.2 * (-1) ** nth)) for nth in range(8)]
    found = _of(readings).estimate()
    assert found.low < EDGE < found.high
    assert found.edge == pytest.approx(EDGE, rel=0.06)


def test_sides_alone_halve_the_distance() -> None:
    readings: list[tuple[float, Reading]] = [(load, Side(load < EDGE)) for load in (2.0, 8.0, 4.0, 5.6, 4.3, 5.0, 4.5, 4.75)]
    found = _of(readings).estimate()
    assert found.edge == pytest.approx(EDGE, rel=0.05)


def test_a_window_without_a_value_says_on_which_side_the_edge_lies() -> None:
    readings: list[tuple[float, Reading]] = [(2.0, Ratio(-1.0)), (8.0, Side(held=False))]
    assert 2.0 < _of(readings).estimate().edge < 8.0


def test_the_first_criterion_that_fails_makes_the_edge() -> None:
    lower: list[tuple[float, Reading]] = [(load, Ratio(3.0 * math.log(load / 3.0))) for load in LOADS]
    both = posterior([_ratios(2.0), lower], 1.0, 16.0).estimate()
    assert both.edge == pytest.approx(3.0, rel=0.06)  # nearest windows: 2 and 4


def test_a_criterion_that_always_held_leaves_the_edge_to_the_other() -> None:
    held: list[tuple[float, Reading]] = [(load, Side(held=True)) for load in LOADS]
    both = posterior([_ratios(2.0), held], 1.0, 16.0).estimate()
    assert both.edge == pytest.approx(EDGE, rel=0.02)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 2.0), (3.0, 2.0), (1.0, math.inf)])
def test_what_is_no_range_of_loads_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="no range"):
        _of(_ratios(2.0), low, high)


READINGS = st.one_of(
    st.builds(Ratio, st.floats(-50, 50)),
    st.builds(Side, st.booleans()),
)
COUNTS = st.one_of(
    st.integers(0, 500).map(lambda above: Count(above, 500, 0.05, 0.1 * (above - 25))),
    st.builds(Side, st.booleans()),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.5, 50), READINGS), min_size=1, max_size=6), st.lists(st.tuples(st.floats(0.5, 50), COUNTS), max_size=6)
)
def test_whatever_was_measured_the_interval_is_one(first: list[tuple[float, Reading]], second: list[tuple[float, Reading]]) -> None:
    found = posterior([first, second] if second else [first], 0.25, 100.0)
    assert found.weights.sum() == pytest.approx(1.0)
    assert (found.weights >= 0).all()
    estimate = found.estimate()
    assert 0.1 < estimate.low <= estimate.edge <= estimate.high < 250


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.sampled_from([0.5, 2.0, 8.0]))
def test_another_unit_of_the_load_changes_nothing_else(scale: float, slope: float) -> None:
    readings = _ratios(slope, 0.1, seed=5)
    scaled = [(load * scale, reading) for load, reading in readings]
    assert _of(scaled, scale, 16.0 * scale).estimate().edge == pytest.approx(scale * _of(readings).estimate().edge, rel=1e-6)


@pytest.mark.parametrize("x", [1e-9, 0.1, 1.0, 2.5, 30.0, 1e6])
def test_log_gamma_is_the_standard_librarys(x: float) -> None:
    assert float(log_gamma(np.array([x]))[0]) == pytest.approx(math.lgamma(x), rel=1e-10, abs=1e-10)
