from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuner.launchers.bench_json import Sent, bench_json, plan_for
from tuner.core.contract import LoadPlan, WindowResult
from tuner.core.errors import FailureClass, TrialFailed
from tuner.launchers.bench_result import planned_requests, read_bench_result, summary_of
from tuner.metrics.window import window_metrics

SECONDS = st.floats(1e-4, 2.0)
TWO = (Sent(100.0, 0.5, (0.1, 0.3), 7, 3), Sent(100.25, 0.25, (0.2,), 9, 2))


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    gaps = tuple(draw(st.lists(SECONDS, max_size=6)))
    return Sent(draw(st.floats(5000, 5005)), draw(SECONDS), gaps, draw(st.integers(1, 9)), 1 + len(gaps))


def read(raw: dict[str, Any], plan: LoadPlan) -> WindowResult:
    window = read_bench_result(raw, plan)
    return WindowResult(window.requests, (), 0.0, window.duration_s, reported_metrics=window.reported)


@pytest.mark.slow
@given(st.lists(requests(), min_size=1, max_size=12))
def test_our_metrics_of_the_records_are_the_reported_ones(sent: list[Sent]) -> None:
    window = read(bench_json(sent, 20.0), plan_for(sent))
    ours = window_metrics(replace(window, reported_metrics={}))
    assert {"ttft_p99_ms", "e2el_mean_ms", "request_throughput", "output_token_throughput", "completed"} <= window.reported_metrics.keys()
    for name, value in window.reported_metrics.items():
        assert math.isclose(ours[name], value, rel_tol=1e-6, abs_tol=1e-6), name


def test_times_count_from_the_start_of_the_window() -> None:
    window = read_bench_result(bench_json(TWO, 1.0), plan_for(TWO))
    first, second = window.requests
    assert (first.sent_s, second.sent_s) == (0.0, 0.25)
    assert first.token_times_s == pytest.approx((0.5, 0.6, 0.9))
    assert first.finished_s == pytest.approx(0.9)
    assert second.token_times_s == pytest.approx((0.5, 0.7))
    assert window.merged_tokens == 0


def test_open_loop_the_most_punctual_request_gives_the_origin_and_lateness_is_kept() -> None:
    sent = [Sent(50.3, 0.1, (), 3, 1), Sent(51.9, 0.1, (), 4, 1)]
    window = read_bench_result(bench_json(sent, 3.0), plan_for(sent, [0.25, 1.0]))
    assert [record.planned_s for record in window.requests] == [0.25, 1.0]
    assert [record.sent_s for record in window.requests] == pytest.approx([0.25, 1.85])


def test_a_plan_is_sent_by_arrival_and_read_back_in_its_own_order() -> None:
    late, early = Sent(12.0, 0.1, (), 3, 1), Sent(10.0, 0.2, (), 4, 1)
    plan = plan_for([late, early], [2.0, 0.0])
    assert [request["arrival_s"] for request in planned_requests(plan)] == [0.0, 2.0]
    window = read_bench_result(bench_json([early, late], 3.0), plan)
    assert [(record.request_id, record.prompt_tokens, record.sent_s) for record in window.requests] == [("r0", 3, 2.0), ("r1", 4, 0.0)]


def test_requests_that_failed_fail_the_trial_and_say_why() -> None:
    sent = [TWO[0], replace(TWO[1], failed="Traceback (most recent call last):\n  ...\nConnectionResetError: gone")]
    with pytest.raises(TrialFailed, match="1 of 2 requests failed: ConnectionResetError: gone") as caught:
        read_bench_result(bench_json(sent, 1.0), plan_for(TWO))
    assert caught.value.failure is FailureClass.REQUEST_FAILED


def test_a_run_in_which_all_failed_is_no_measurement_of_zero_milliseconds() -> None:
    raw = bench_json([replace(request, failed="Bad Request") for request in TWO], 1.0)
    assert raw["p99_ttft_ms"] == 0.0  # this is what a minimiser would have been given
    with pytest.raises(TrialFailed, match="2 of 2 requests failed: Bad Request"):
        read_bench_result(raw, plan_for(TWO))


def test_requests_of_one_token_have_no_tpot_and_no_itl() -> None:
    sent = [Sent(1.0, 0.1, (), 3, 1)]
    raw = bench_json(sent, 1.0)
    assert raw["mean_tpot_ms"] == raw["p99_itl_ms"] == 0.0
    assert not [name for name in read_bench_result(raw, plan_for(sent)).reported if name.startswith(("tpot", "itl"))]


def test_tokens_that_came_in_one_chunk_are_counted_and_leave_the_end_where_it_was() -> None:
    sent = [replace(TWO[0], output_tokens=5)]
    window = read_bench_result(bench_json(sent, 1.0), plan_for(sent))
    assert window.merged_tokens == 2
    assert window.requests[0].token_times_s == pytest.approx((0.5, 0.6, 0.9, 0.9, 0.9))
    ours = window_metrics(WindowResult(window.requests, (), 0.0, 1.0))
    assert ours["tpot_mean_ms"] == pytest.approx(window.reported["tpot_mean_ms"])
    assert window.reported["itl_mean_ms"] == pytest.approx(200)  # vLLM's own, over the chunks that there were


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_lens": [7, 8]}, "request r1: 8 prompt tokens instead of the planned 9"),
        ({"output_lens": [3, 1]}, "request r1: 1 output tokens instead of the planned 2"),
        ({"itls": [[0.1, 0.1, 0.1], [0.2]]}, "request r0: 4 chunks for 3 tokens"),
        ({"ttfts": [0.5]}, "ttfts for 2 requests with 1 entries"),
        ({"start_times": None}, "start_times for 2 requests with none; --save-detailed"),
        ({"duration": None}, "duration = None, which is not a number"),
        ({"p99_ttft_ms": "fast"}, "p99_ttft_ms = 'fast', which is not a number"),
    ],
)
def test_a_result_that_is_not_one_of_the_plan_is_no_measurement(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrialFailed, match=message) as caught:
        read_bench_result(bench_json(TWO, 1.0) | change, plan_for(TWO))
    assert caught.value.failure is FailureClass.INVALID_MEASUREMENT


def test_the_summary_leaves_the_long_lists_out() -> None:
    summary = summary_of(bench_json(TWO, 1.0))
    assert summary["p99_ttft_ms"] > 0
    assert not {"ttfts", "itls", "errors"} & summary.keys()
