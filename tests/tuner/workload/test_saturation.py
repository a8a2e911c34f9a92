"""The over-saturation test on simulated queues: few wrong alarms below capacity, nearly always an alarm above, none in a ramp-up."""

from __future__ import annotations

import random

import pytest

from bench.saturation import Service, exponential, first_alarm, lognormal, queue, seen_at
from tuner.core.contract import RequestRecord
from tuner.workload.saturation import MIN_FINISHED, backlog_trend, ramp_up_s, saturation, ttft_trend

EVERY = 48  # checks less often than a measurement does, for the sake of the suite's time; bench/saturation.py has the real rhythm


@pytest.mark.slow
@pytest.mark.parametrize(("load", "service", "servers"), [(0.8, exponential, 1), (0.9, exponential, 1), (0.8, lognormal, 16)])
def test_wrong_alarms_in_a_stable_queue(load: float, service: Service, servers: int) -> None:
    alarms = sum(first_alarm(queue(load, 400, seed, service, servers), EVERY) is not None for seed in range(60))
    assert alarms <= 0.05 * 60


@pytest.mark.slow
@pytest.mark.parametrize(("load", "requests", "servers"), [(1.2, 1000, 1), (1.2, 1000, 16), (1.5, 350, 1)])
def test_overload_is_found(load: float, requests: int, servers: int) -> None:
    alarms = sum(first_alarm(queue(load, requests, seed, exponential, servers), EVERY) is not None for seed in range(40))
    assert alarms >= 0.9 * 40


def test_the_estimated_deficit_is_that_of_the_load() -> None:
    """At twice the capacity half of what arrives is not served, and each second adds a second of waiting."""
    records = queue(2.0, 4000, 1)
    now_s = records[-1].planned_s
    seen = seen_at(records, now_s)
    backlog, ttft = backlog_trend(seen, 10.0, now_s), ttft_trend(seen, 10.0, now_s)
    assert backlog is not None and backlog.deficit == pytest.approx(0.5, abs=0.05)
    assert ttft is not None and ttft.deficit == pytest.approx(1.0, abs=0.1)


def test_the_reason_is_one_line_with_numbers() -> None:
    reason = first_alarm(queue(2.0, 400, 1))
    assert reason is not None and reason.startswith("saturated after ") and "of what arrives is not served" in reason and "\n" not in reason


def test_the_ramp_up_is_left_out() -> None:
    """Unlimited servers, 5 s in the system, ten arrivals a second: unfinished requests rise to 50 and stay there."""
    rng = random.Random(3)
    records, now_s = [], 0.0
    for index in range(600):
        now_s += rng.expovariate(10.0)
        records.append(RequestRecord(f"r{index}", 1, now_s, now_s, (now_s + 0.1,), now_s + 5.0))
    start_s = ramp_up_s(records, 30.0)
    assert start_s == pytest.approx(10.0)
    with_ramp_up, without = backlog_trend(records, 0.0, 30.0), backlog_trend(seen_at(records, 30.0), start_s, 30.0)
    assert with_ramp_up is not None and with_ramp_up.matters(1.9)
    assert without is not None and not without.matters(1.9)


def test_a_backlog_that_grows_without_waiting_is_a_batch_that_fills_up() -> None:
    """Requests take longer and longer, but each starts at once."""
    records = [RequestRecord(f"r{i}", 1, i * 0.1, i * 0.1, (i * 0.1 + 0.05,), i * 0.1 + 1 + (i * 0.1) * 0.5) for i in range(1000)]
    seen = seen_at(records, 90.0)
    backlog = backlog_trend(seen, 5.0, 90.0)
    assert backlog is not None and backlog.deficit > 0.2 and backlog.t > 10
    assert saturation(seen, 90.0) is None


def test_too_few_requests_say_nothing() -> None:
    records = queue(3.0, 1000, 1)
    finishes = sorted(record.finished_s for record in records if record.finished_s is not None)
    early, enough = finishes[MIN_FINISHED - 2], finishes[2 * MIN_FINISHED]
    assert saturation(seen_at(records, early), early) is None and saturation(seen_at(records, enough), enough) is not None
    assert saturation([], 10.0) is None


def test_a_window_that_is_mostly_ramp_up_is_not_judged() -> None:
    records = queue(3.0, 1000, 1)
    slow = [
        RequestRecord(r.request_id, 1, r.planned_s, r.sent_s, r.token_times_s, None if i < 16 else r.finished_s)
        for i, r in enumerate(records)
    ]
    assert ramp_up_s(slow, 200.0) > 100.0
    assert saturation(slow, 200.0) is None


def test_waiting_counts_from_the_planned_arrival() -> None:
    """A driver that is blocked by the engine sends late; the time until then was waited all the same."""
    records = queue(2.0, 400, 1)
    now_s = records[-1].planned_s
    late = [
        RequestRecord(r.request_id, 1, r.planned_s, r.token_times_s[0] - 0.01 if r.token_times_s else now_s, r.token_times_s, r.finished_s)
        for r in seen_at(records, now_s)
    ]
    assert saturation(late, now_s) == saturation(seen_at(records, now_s), now_s) is not None


def test_no_arrivals_is_no_trend() -> None:
    assert backlog_trend([], 0.0, 1.0) is None and ttft_trend([], 0.0, 1.0) is None
    one = RequestRecord("r", 1, 0.5, 0.5, (0.6,), 0.7)
    assert ttft_trend([one], 0.0, 1.0) is None  # empty slices
