"""Known answers by hand, what is absent instead of 0, and the documentation that lists every metric."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.core.contract import RequestRecord, StepRecord, WindowResult
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.metrics.catalog import CANARY_DIVERGENCE, CANARY_MATCH, CATALOG, MAX_CONCURRENCY, MAX_REQUEST_RATE, Direction
from tuner.metrics.window import RequestLimit, metric_value, window_fault, window_metrics

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"

OF_AN_ENGINE = {
    CANARY_MATCH,
    CANARY_DIVERGENCE,
    *(name for name in CATALOG if name.startswith("startup")),
}  # not of a window: tuner.trials.trial adds them


def request(name: str = "r0", *, sent: float = 0.0, tokens: tuple[float, ...] = (0.1, 0.2, 0.4), **changes: object) -> RequestRecord:
    record = RequestRecord(
        request_id=name, prompt_tokens=10, planned_s=sent, sent_s=sent, token_times_s=tokens, finished_s=tokens[-1] if tokens else None
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def step(duration_s: float, scheduled: int, padded: int, prefill: int) -> StepRecord:
    return StepRecord(0.0, duration_s, scheduled, padded, prefill, prefill_requests=int(prefill > 0), decode_requests=0)


def window(*requests: RequestRecord, duration_s: float = 2.0, **changes: object) -> WindowResult:
    return replace(WindowResult(requests=requests, steps=(), started_at=0.0, duration_s=duration_s), **changes)  # type: ignore[arg-type]


def test_known_answers_of_two_requests() -> None:
    first = request("a", sent=0.0, tokens=(0.1, 0.2, 0.4), cached_tokens=5, preemptions=1)  # TTFT 100, gaps 100 and 200, E2EL 400, TPOT 150
    second = request("b", sent=0.5, tokens=(0.8,), prompt_tokens=30)  # TTFT 300, no gap, E2EL 300
    metrics = window_metrics(window(first, second))
    expected = {
        "completed": 2,
        "failed": 0,
        "request_throughput": 1.0,
        "prompt_token_throughput": 20.0,
        "output_token_throughput": 2.0,
        "total_token_throughput": 22.0,
        "preemptions": 1,
        "prefix_cache_hit_rate": 5 / 40,
        "ttft_mean_ms": 200,
        "ttft_std_ms": 100,
        "ttft_p50_ms": 200,
        "ttft_p90_ms": 280,
        "ttft_p99_ms": 298,
        "ttft_max_ms": 300,
        "tpot_mean_ms": 150,
        "tpot_p99_ms": 150,
        "itl_mean_ms": 150,
        "itl_max_ms": 200,
        "itl_p90_ms": 190,
        "e2el_mean_ms": 350,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert "goodput" not in metrics and "steps" not in metrics and "sender_lag_p99_ms" not in metrics


def test_tpot_is_not_itl() -> None:
    """One request of 2 tokens, one of 11: TPOT weighs requests, ITL weighs gaps."""
    slow = request("a", tokens=(0.0, 1.0))
    fast = request("b", tokens=tuple(i / 10 for i in range(11)))
    metrics = window_metrics(window(slow, fast))
    assert metrics["tpot_mean_ms"] == pytest.approx((1000 + 100) / 2)
    assert metrics["itl_mean_ms"] == pytest.approx((1000 + 10 * 100) / 11)


def test_requests_of_one_token_have_no_tpot_and_no_itl() -> None:
    metrics = window_metrics(window(request(tokens=(0.1,))))
    assert {"ttft_p99_ms", "e2el_p99_ms"} <= set(metrics)
    assert not any(name.startswith(("tpot", "itl")) for name in metrics)


def test_step_metrics_leave_empty_steps_out_but_count_them() -> None:
    steps = (step(0.010, 100, 128, 100), step(0.030, 28, 128, 0), step(5.0, 0, 0, 0))
    metrics = window_metrics(window(request(), steps=steps))
    assert metrics["steps"] == 2 and metrics["empty_steps"] == 1
    assert metrics["mean_step_ms"] == pytest.approx(20) and metrics["p50_step_ms"] == pytest.approx(20)
    assert metrics["p99_step_ms"] == pytest.approx(29.8)
    assert metrics["scheduled_tokens_per_step"] == 64 and metrics["padded_tokens_per_step"] == 128
    assert metrics["padding_share"] == pytest.approx(0.5) and metrics["prefill_tokens_per_step"] == 50


def test_failed_requests_count_but_have_no_latency() -> None:
    good, bad = request("a"), request("b", tokens=(9.0,), error="timed out")
    result = window(good, bad)
    metrics = window_metrics(result)
    assert (metrics["completed"], metrics["failed"]) == (1, 1)
    assert metrics["ttft_max_ms"] == pytest.approx(100)
    assert metrics["request_throughput"] == 0.5
    assert window_fault(result, metrics) == "request_failed"


def test_window_fault_names_recompilation_first_and_passes_a_good_window() -> None:
    assert window_fault(window(compilations=1), {"failed": 1.0}) == "recompiled"
    assert window_fault(window(), {"failed": 0.0}) is None


@pytest.mark.parametrize(
    "bad", [request(error="boom"), request(finished_s=None), request(tokens=())], ids=["error", "unfinished", "no token"]
)
def test_all_failed_raises_and_is_never_zero(bad: RequestRecord) -> None:
    with pytest.raises(TrialFailed, match="all 2 requests") as caught:
        window_metrics(window(bad, bad))
    assert caught.value.failure is FailureClass.REQUEST_FAILED


@pytest.mark.parametrize(
    "result",
    [
        window(),
        window(request(), duration_s=0.0),
        window(request(), duration_s=math.nan),
        window(request(sent=0.15)),  # the first token came before the request was sent: two clocks
        window(request(tokens=(0.2, 0.1))),
        window(request(tokens=(0.1, math.inf))),
        window(request(), reported_metrics={"goodput": math.nan}),
        window(request(), reported_metrics={"goodput": None}),
        window(request(), steps=(step(0.01, 10, 8, 0),)),
    ],
)
def test_impossible_windows_raise(result: WindowResult) -> None:
    with pytest.raises(TrialFailed) as caught:
        window_metrics(result)
    assert caught.value.failure is FailureClass.INVALID_MEASUREMENT


def test_reported_metrics_override_and_stand_alone() -> None:
    assert window_metrics(window(request(), reported_metrics={"ttft_p99_ms": 7}))["ttft_p99_ms"] == 7.0
    assert window_metrics(window(reported_metrics={"goodput": 3.5})) == {"goodput": 3.5}
    with pytest.raises(BadInput, match=r"metric 'p95' is unknown; known: .*ttft_p95_ms"):
        window_metrics(window(request(), reported_metrics={"p95": 1.0}))
    with pytest.raises(TrialFailed, match="no request"):
        window_metrics(window(reported_metrics={"completed": 0, "ttft_p99_ms": 0.0}))


@pytest.mark.parametrize(
    ("limit", "good"),
    [
        (RequestLimit("ttft", 100), 1),
        (RequestLimit("ttft", 300), 2),
        (RequestLimit("e2el", 350), 1),
        (RequestLimit("tpot", 149), 1),  # the one-token request meets any TPOT limit
        (RequestLimit("itl", 199), 1),
        (RequestLimit("itl", 150.5, percentile=50), 2),
        (RequestLimit("itl", 200), 2),
    ],
)
def test_goodput_counts_requests_that_meet_every_limit(limit: RequestLimit, good: int) -> None:
    requests = (request("a", tokens=(0.1, 0.2, 0.4)), request("b", tokens=(0.3,)))
    slack = RequestLimit("e2el", 1e9)
    rounded = tuple(replace(item, token_times_s=tuple(round(t, 6) for t in item.token_times_s)) for item in requests)
    limit = replace(limit, limit_ms=limit.limit_ms + 1e-6)
    assert window_metrics(window(*rounded), limits=(limit, slack))["goodput"] == good / 2.0


def test_open_loop_reports_the_senders_lag() -> None:
    late = request("b", sent=0.5, tokens=(0.9,), planned_s=0.3)
    assert window_metrics(window(late), open_loop=True)["sender_lag_p99_ms"] == pytest.approx(200)


def test_where_the_sender_waits_for_the_engine_latencies_count_from_the_arrival() -> None:
    """Otherwise long steps would hide: what arrives during one is sent after it. TPOT does not change."""
    late = request("b", sent=0.5, tokens=(0.9, 1.0), planned_s=0.3)
    result = window(late)
    sent, arrived = (
        window_metrics(replace(result, latency_from_arrival=flag), limits=(RequestLimit("ttft", 500),), open_loop=True)
        for flag in (False, True)
    )
    assert [sent["ttft_p50_ms"], arrived["ttft_p50_ms"]] == pytest.approx([400, 600])
    assert [sent["e2el_p50_ms"], arrived["e2el_p50_ms"]] == pytest.approx([500, 700])
    assert sent["tpot_p50_ms"] == pytest.approx(arrived["tpot_p50_ms"]) and (sent["goodput"], arrived["goodput"]) == (0.5, 0.0)
    assert sent["sender_lag_p99_ms"] == arrived["sender_lag_p99_ms"] == pytest.approx(200)


@pytest.mark.parametrize("changes", [{"metric": "latency"}, {"limit_ms": -1}, {"limit_ms": math.nan}, {"percentile": 101}])
def test_bad_limits_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        RequestLimit(**({"metric": "ttft", "limit_ms": 1.0} | changes))  # type: ignore[arg-type]


def test_metric_value_never_invents() -> None:
    assert metric_value({"goodput": 0.0}, "goodput") == 0.0
    with pytest.raises(BadInput, match="unknown"):
        metric_value({"p95": 1.0}, "p95")
    for metrics in ({}, {"goodput": math.nan}):
        with pytest.raises(TrialFailed):
            metric_value(metrics, "goodput")


def test_every_metric_that_can_be_produced_is_in_the_catalogue_and_documented() -> None:
    full = window(request(), steps=(step(0.01, 8, 8, 0),))
    produced = set(window_metrics(full, limits=(RequestLimit("ttft", 1),), open_loop=True))
    assert produced | {MAX_REQUEST_RATE, MAX_CONCURRENCY} | OF_AN_ENGINE == set(CATALOG), "the rate takes several windows"
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (\w+) \| ([^|]+) \|$", DOCS.read_text(), flags=re.MULTILINE)
    documented = {name: (unit, direction, formula) for name, unit, direction, formula in rows}
    assert len(rows) == len(documented)
    assert documented == {info.name: (info.unit, info.direction.value, info.formula) for info in CATALOG.values()}


def test_what_a_launcher_reports_under_a_name_of_before_counts_under_the_new_one() -> None:
    found = window_metrics(window(duration_s=1.0, reported_metrics={"cached_token_share": 0.25, "completed": 3.0}))
    assert found == {"prefix_cache_hit_rate": 0.25, "completed": 3.0}


def test_directions_are_natural() -> None:
    assert CATALOG["total_token_throughput"].direction is Direction.MAXIMIZE
    assert CATALOG["ttft_p99_ms"].direction is Direction.MINIMIZE


gaps = st.lists(st.floats(0.0, 10.0), min_size=1, max_size=8)


@pytest.mark.slow
@examples(60)
@given(st.lists(gaps, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order_of_requests_and_match_a_plain_oracle(all_gaps: list[list[float]], random: object) -> None:
    records = [request(f"r{i}", tokens=tuple(float(t) for t in np.cumsum(row))) for i, row in enumerate(all_gaps)]
    metrics = window_metrics(window(*records))
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert window_metrics(window(*shuffled)) == pytest.approx(metrics, rel=1e-9, abs=1e-9)
    ttft_ms = sorted(row[0] * 1000 for row in all_gaps)
    rank = 0.9 * (len(ttft_ms) - 1)  # type 7 by hand
    low = math.floor(rank)
    high = min(low + 1, len(ttft_ms) - 1)
    assert metrics["ttft_p90_ms"] == pytest.approx(ttft_ms[low] + (rank - low) * (ttft_ms[high] - ttft_ms[low]), abs=1e-6)
    assert metrics["ttft_p50_ms"] <= metrics["ttft_p90_ms"] + 1e-9 <= metrics["ttft_p99_ms"] + 2e-9 <= metrics["ttft_max_ms"] + 3e-9
