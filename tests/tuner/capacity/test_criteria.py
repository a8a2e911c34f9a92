"""What a window says of SLOs and of keeping up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.capacity.criteria import KEEPS_UP, check_slos, from_json, keeps_up, readings_of, to_json
from tuner.core.contract import LoadPlan, PlannedRequest, RequestRecord, WindowResult
from tuner.core.errors import BadInput, TrialFailed
from tuner.metrics.objective import parse_slo
from tuner.metrics.window import window_metrics
from tuner.stats.edge import Count, Ratio, Reading, Side

PLAN = LoadPlan(tuple(PlannedRequest(f"r{nth}", (1,), 2, float(nth)) for nth in range(10)), None, "hash")


def _window(waits_s: list[float], **changes: object) -> WindowResult:
    """A request each second; its first token after the wait, the second 100 ms later."""
    records = tuple(
        RequestRecord(f"r{nth}", 1, float(nth), float(nth), (nth + wait, nth + wait + 0.1), nth + wait + 0.1)
        for nth, wait in enumerate(waits_s)
    )
    end = max(record.finished_s or 0.0 for record in records)
    return WindowResult(records, (), 0.0, end, **changes)  # type: ignore[arg-type]


def _readings(window: WindowResult, *slos: str) -> dict[str, Reading]:
    parsed = [parse_slo(text) for text in slos]
    return readings_of(window, window_metrics(window, open_loop=True), parsed, kept_up=keeps_up(window, PLAN))


def test_a_percentile_counts_the_requests_above_the_limit() -> None:
    found = _readings(_window([0.01] * 8 + [0.9, 0.9]), "ttft_p90_ms<=500", "e2el_p50_ms<=500")
    ttft, e2el = found["ttft_p90_ms<=500"], found["e2el_p50_ms<=500"]
    assert isinstance(ttft, Count)
    assert isinstance(e2el, Count)
    assert (ttft.above, ttft.total, e2el.above, e2el.allowed) == (2, 10, 2, 0.5)
    assert ttft.allowed == pytest.approx(0.1)
    assert (ttft.excess, e2el.excess) == pytest.approx((math.log(0.9 / 0.5), math.log(0.11 / 0.5)))
    assert (ttft.held, e2el.held) == (False, True)


def test_any_other_metric_says_how_far_it_is_from_its_limit() -> None:
    found = _readings(_window([0.2] * 10), "ttft_mean_ms<=400", "tpot_max_ms<=50")
    mean, highest = found["ttft_mean_ms<=400"], found["tpot_max_ms<=50"]
    assert isinstance(mean, Ratio)
    assert isinstance(highest, Ratio)
    assert (mean.excess, highest.excess) == pytest.approx((-math.log(2), math.log(2)))


def test_a_metric_of_zero_says_only_that_it_holds() -> None:
    assert _readings(_window([0.2] * 10), "preemptions<=0")["preemptions<=0"] == Side(held=True)


def test_a_stopped_window_says_nothing_of_latencies() -> None:
    assert _readings(_window([0.01] * 10, stopped="saturated after 9 s"), "ttft_p90_ms<=500") == {KEEPS_UP: Side(held=False)}


def test_a_window_that_waits_longer_for_its_last_requests_than_they_arrived_does_not_keep_up() -> None:
    assert keeps_up(_window([0.1] * 10), PLAN)
    assert not keeps_up(_window([0.1] * 9 + [12.0]), PLAN)


def test_an_slo_on_what_was_not_measured_is_no_reading() -> None:
    window = _window([0.1] * 10)
    with pytest.raises(TrialFailed, match="mean_step_ms"):
        _readings(window, "mean_step_ms<=5")


@pytest.mark.parametrize(
    ("slos", "said"),
    [
        ([], "needs a limit"),
        (["request_throughput>=5"], "does not get worse with the load"),
        (["goodput>=5"], "does not get worse with the load"),
        (["ttft_p99_ms<=500", "completed>=10"], "does not get worse with the load"),
        (["ttft_p99_ms<=0"], "can never be met"),
    ],
)
def test_what_has_no_highest_load_is_refused(slos: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_slos([parse_slo(text) for text in slos])


@pytest.mark.parametrize("slo", ["ttft_p99_ms<=500", "preemptions<=3", "prefix_cache_hit_rate>=0.5", "p99_step_ms<=40"])
def test_what_more_load_makes_worse_is_taken(slo: str) -> None:
    """Only the throughput beside it is complained of."""
    with pytest.raises(BadInput, match=r"^slo request_throughput>=5"):
        check_slos([parse_slo(slo), parse_slo("request_throughput>=5")])


READING = st.one_of(
    st.builds(Ratio, st.floats(-9, 9)),
    st.builds(Side, st.booleans()),
    st.builds(Count, st.integers(0, 50), st.just(50), st.just(0.01), st.floats(-9, 9)),
)


@given(st.dictionaries(st.text(max_size=5), READING))
def test_readings_come_back_as_they_were_stored(readings: dict[str, Reading]) -> None:
    assert from_json(to_json(readings)) == readings


@pytest.mark.parametrize("damaged", [{"a": {}}, {"a": {"above": 1}}, {"a": 3}, {"a": {"excess": "x"}}])
def test_damaged_readings_are_told(damaged: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="damaged"):
        from_json(damaged)
