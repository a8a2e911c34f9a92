"""Which load is tried next, and when the search ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.queues import QUEUES, Queue
from tuner.stats.edge import Count, Ratio, Reading, Side
from tuner.stats.edge_search import REACH, EdgeAsk, EdgeSearch, EdgeState, EdgeWindow, search_edge


def _curve(edge: float, slope: float = 2.0, noise: float = 0.0, seed: int = 0) -> Callable[[float], EdgeWindow]:
    random = np.random.default_rng(seed)
    return lambda load: EdgeWindow(load, {"slo": Ratio(slope * math.log(load / edge) + noise * random.normal())})


@pytest.mark.parametrize("first", [0.5, 7.0, 90.0])
@pytest.mark.parametrize("edge", [2.0, 10.0, 33.0])
def test_a_quiet_edge_is_found_from_far_away(first: float, edge: float) -> None:
    search = search_edge(EdgeAsk(first), _curve(edge, noise=0.02))
    found = search.estimate()
    assert found is not None
    assert search.state is EdgeState.FOUND
    assert found.low < edge < found.high
    assert found.edge == pytest.approx(edge, rel=0.05)


def test_a_quiet_edge_ends_the_search_early() -> None:
    assert len(search_edge(EdgeAsk(8.0), _curve(10.0, noise=0.01)).windows) < 9


def test_a_loud_one_takes_all_windows() -> None:
    assert len(search_edge(EdgeAsk(8.0, max_windows=9), _curve(10.0, slope=1.0, noise=0.5)).windows) == 9


def test_where_nothing_holds_the_lowest_load_is_tried_twice_and_no_edge_is_named() -> None:
    search = search_edge(EdgeAsk(10.0), lambda load: EdgeWindow(load, {"slo": Ratio(0.4)}))
    assert (search.state, search.estimate()) == (EdgeState.NONE, None)
    loads = [window.load for window in search.windows]
    assert loads.count(10.0 / REACH) == 2
    assert min(loads) == loads[-1]


def test_where_everything_holds_up_to_the_highest_load_it_is_at_least_that() -> None:
    search = search_edge(EdgeAsk(10.0, highest=50.0), lambda load: EdgeWindow(load, {"slo": Ratio(-0.4)}))
    assert (search.state, search.estimate(), search.highest_held) == (EdgeState.AT_LEAST, None, 50.0)
    assert [window.load for window in search.windows] == [10.0, 20.0, 50.0, 50.0]


def test_where_the_windows_end_before_anything_failed_it_is_at_least_that_too() -> None:
    search = search_edge(EdgeAsk(1.0, max_windows=3), lambda load: EdgeWindow(load, {"slo": Side(held=True)}))
    assert (search.state, search.highest_held) == (EdgeState.AT_LEAST, 8.0)


def test_a_search_that_has_not_ended_is_open() -> None:
    search = EdgeSearch(EdgeAsk(1.0))
    assert search.state is EdgeState.OPEN
    search.add(EdgeWindow(1.0, {"slo": Side(held=True)}))
    assert search.state is EdgeState.OPEN


def test_known_windows_are_not_measured_again() -> None:
    whole = search_edge(EdgeAsk(8.0), _curve(10.0, noise=0.1, seed=1))
    measured = []

    def measure(load: float) -> EdgeWindow:
        measured.append(load)
        return _curve(10.0)(load)

    again = search_edge(EdgeAsk(8.0), measure, whole.windows)
    assert (measured, again.estimate()) == ([], whole.estimate())


def test_a_noisy_window_below_the_edge_does_not_end_the_search_there() -> None:
    """The first window failed by chance; the edge lies above every load that the bracket tried."""
    calls = iter([EdgeWindow(8.0, {"slo": Ratio(0.05)})])
    good = _curve(10.0, slope=4.0, noise=0.05)
    found = search_edge(EdgeAsk(8.0), lambda load: next(calls, None) or good(load)).estimate()
    assert found is not None
    assert found.edge == pytest.approx(10.0, rel=0.1)


def test_saturation_alone_ends_a_bracket() -> None:
    """The SLO's metric does not see the load, but the engine stops to keep up at 12."""

    def measure(load: float) -> EdgeWindow:
        kept = load < 12.0
        slo: dict[str, Reading] = {"slo": Ratio(-0.7)} if kept else {}
        return EdgeWindow(load, {"keeps_up": Side(kept), **slo})

    found = search_edge(EdgeAsk(2.0), measure).estimate()
    assert found is not None
    assert found.low < 12.0 < found.high
    assert found.edge == pytest.approx(12.0, rel=0.1)


def test_whole_loads_are_whole_and_end_at_one_number() -> None:
    search = search_edge(EdgeAsk(4.0, whole=True, max_windows=20), _curve(10.4, slope=4.0, noise=0.02))
    assert all(window.load == int(window.load) >= 1 for window in search.windows)
    found = search.estimate()
    assert found is not None
    assert math.floor(found.edge) == 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": 0.0},
        {"first": math.inf},
        {"first": 5.0, "highest": 4.0},
        {"first": 1.0, "max_windows": 0},
        {"first": 1.0, "precision": 0.0},
    ],
)
def test_what_cannot_be_searched_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="search"):
        EdgeAsk(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=12, max_size=12), st.floats(0.1, 100))
def test_whatever_the_windows_say_the_search_ends_within_them(held: list[bool], first: float) -> None:
    answers = iter(held)
    search = search_edge(EdgeAsk(first), lambda load: EdgeWindow(load, {"slo": Side(next(answers))}))
    assert len(search.windows) <= 12
    assert all(first / REACH <= window.load < math.inf for window in search.windows)
    assert search.state is not EdgeState.OPEN


def _window(queue: Queue, rate: float, random: np.random.Generator) -> EdgeWindow:
    [slo] = queue.slos
    times = queue.window(rate, 2000, random)
    excess = math.log(slo.value(times) / slo.limit_s)
    if slo.percentile is None:
        return EdgeWindow(rate, {"slo": Ratio(excess)})
    return EdgeWindow(rate, {"slo": Count(int((times > slo.limit_s).sum()), len(times), 1 - slo.percentile / 100, excess)})


@pytest.mark.slow
@pytest.mark.parametrize("queue", [QUEUES[0], QUEUES[2]], ids=lambda queue: queue.name)
def test_the_edge_of_a_queue_is_found(queue: Queue) -> None:
    """With a formula for the edge; `python -m bench.capacity_search` does all queues with many seeds."""
    errors, covered = [], 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        found = search_edge(EdgeAsk(queue.edge * 4 ** random.uniform(-1, 1)), partial(_window, queue, random=random)).estimate()
        assert found is not None
        errors.append(abs(found.edge / queue.edge - 1))
        covered += found.low <= queue.edge <= found.high
    assert median(errors) < 0.07
    assert covered >= 6
