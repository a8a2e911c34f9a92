"""The answer in words, chips and money."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import CapacityRun, CapacityState, CapacityWindow, Environment, Workload
from tuner.capacity.answer import CapacityAnswer


def _window(load: float, held: bool, **metrics: float) -> CapacityWindow:
    return CapacityWindow(1, 0, load, 0.0, 1.0, held, {"ttft_p99_ms": 100 * load, **metrics}, {})


TOKENS = {"request_throughput": 2.0, "total_token_throughput": 400.0, "output_token_throughput": 100.0}


def _answer(state: CapacityState = CapacityState.FOUND, devices: int = 1, **changes: Any) -> CapacityAnswer:
    values: dict[str, Any] = {"edge": 4.0, "low": 3.6, "high": 4.4} | changes
    run = CapacityRun("m", "w", values.pop("launcher", "local"), ["ttft_p99_ms<=400"], {}, {}, id=3, state=state, **values)
    environment = Environment("f", "tpu", "TPU v6e-4", devices, {})
    windows = (
        _window(4.05, False, goodput=3.0, **TOKENS),
        _window(2.0, True, goodput=2.0, **TOKENS),
        _window(4.0, True, goodput=4.0, **TOKENS),
    )
    return CapacityAnswer(run, Workload("w", "chat", {}), environment, windows)


def test_an_edge_is_told_with_its_interval_and_its_slos() -> None:
    assert _answer().sentence == "4 requests/s [3.6, 4.4] with ttft_p99_ms<=400"


def test_what_was_simulated_is_called_predicted() -> None:
    assert _answer(launcher="simulate").sentence.startswith("predicted: 4 requests/s")


def test_where_no_rate_holds_the_nearest_miss_is_told() -> None:
    sentence = _answer(CapacityState.NONE, edge=None, low=None, high=None).sentence
    assert sentence == "no rate meets ttft_p99_ms<=400: it is not met at 2 requests/s either (ttft_p99_ms 200)"


def test_where_everything_held_it_is_at_least_the_highest_rate() -> None:
    assert _answer(CapacityState.AT_LEAST, high=None).sentence.startswith("at least 4 requests/s with ttft_p99_ms<=400")


ENDS = {CapacityState.INTERRUPTED: "interrupted", CapacityState.FAIL: "failed: the engine is gone"}


@pytest.mark.parametrize(("state", "said"), ENDS.items())
def test_an_unfinished_search_is_not_known_yet(state: CapacityState, said: str) -> None:
    reason = "the engine is gone" if state is CapacityState.FAIL else None
    answer = _answer(state, edge=None, low=None, high=None, reason=reason)
    assert answer.sentence.startswith("not known yet")
    assert said in answer.sentence


def test_windows_that_are_too_short_to_tell_are_named() -> None:
    answer = _answer()
    short = replace(answer.windows[0], readings={"keeps_up": {"held": False}})
    assert answer.hint is None
    assert "in 1 of 3 windows" in str(replace(answer, windows=(short, *answer.windows[1:])).hint)
    assert replace(answer, windows=(replace(short, details={"stopped": "saturated"}),)).hint is None


def test_windows_at_about_one_rate_are_one_point_of_the_curve() -> None:
    points = _answer().curve()
    assert [(point.windows, point.held, point.goodput) for point in points] == [(1, 1, 2.0), (2, 1, 3.5)]


def test_chips_are_counted_by_the_low_end_and_bounded_by_the_high_one() -> None:
    sizing = _answer(devices=4).sizing(40.0)
    assert sizing is not None
    assert (sizing.engines, sizing.chips, sizing.at_least) == (12, 48, 40)


def test_where_no_rate_holds_no_number_of_chips_does() -> None:
    answer = _answer(CapacityState.NONE, edge=None, low=None, high=None)
    assert (answer.sizing(10.0), answer.cost(1.0)) == (None, None)


def test_cost_is_of_all_chips_of_the_engine_at_the_edge() -> None:
    """200 tokens a request, 50 of them output, 4 requests/s: 2.88 million tokens an hour on four chips."""
    cost = _answer(devices=4).cost(1.44)
    assert cost is not None
    assert cost.per_million_tokens == pytest.approx(2.0)
    assert cost.per_million_output_tokens == pytest.approx(8.0)
    assert cost.low == pytest.approx(2.0 * 4 / 4.4)
    assert cost.high == pytest.approx(2.0 * 4 / 3.6)


@given(st.floats(0.01, 1e6), st.floats(0.1, 100), st.integers(1, 8))
def test_the_engines_always_carry_the_load(load: float, low: float, devices: int) -> None:
    sizing = _answer(devices=devices, edge=low * 1.1, low=low, high=low * 1.2).sizing(load)
    assert sizing is not None
    assert sizing.engines * low >= load * (1 - 1e-9)
    assert sizing.at_least is not None
    assert devices <= sizing.at_least <= sizing.chips
