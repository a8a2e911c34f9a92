"""The load driver on an engine whose every step is known: order, concurrency, arrivals, time-outs, what is recorded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.core.contract import LoadPlan, PlannedRequest, RequestRecord
from tuner.workload.client import TokenBatch, WindowTimeout, drive


class Clock:
    """A clock that only the engine's steps and the driver's own checks advance."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 1e-6
        return self.now_s


class OneTokenAStep:
    """Every unfinished request gets one token in each step of `step_s` seconds."""

    def __init__(self, clock: Clock, step_s: float) -> None:
        self.clock, self.step_s = clock, step_s
        self.left: dict[str, int] = {}
        self.most_at_once = 0
        self.aborted: list[str] = []

    def add(self, request: PlannedRequest) -> None:
        self.left[request.request_id] = request.max_tokens
        self.most_at_once = max(self.most_at_once, len(self.left))

    def step(self) -> list[TokenBatch]:
        self.clock.now_s += self.step_s
        batches = []
        for name in list(self.left):
            self.left[name] -= 1
            batches.append(TokenBatch(name, [7], finished=self.left[name] == 0, cached_tokens=3))
            if not self.left[name]:
                del self.left[name]
        return batches

    def abort(self, request_ids: object) -> None:
        self.aborted = sorted(self.left)
        self.left.clear()


def plan_of(tokens: list[int], concurrency: int | None, arrivals: list[float] | None = None) -> LoadPlan:
    requests = tuple(PlannedRequest(f"r{i}", (1, 2, 3), count, 0.0 if arrivals is None else arrivals[i]) for i, count in enumerate(tokens))
    return LoadPlan(requests, concurrency, "hash")


@pytest.mark.slow
@examples(60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(1, 5))
def test_closed_loop_keeps_its_concurrency_and_loses_nothing(tokens: list[int], concurrency: int) -> None:
    clock = Clock()
    engine = OneTokenAStep(clock, 0.01)
    window = drive(engine, plan_of(tokens, concurrency), 1e6, clock)
    assert engine.most_at_once == min(concurrency, len(tokens))
    assert [len(record.token_times_s) for record in window.requests] == tokens
    for record in window.requests:
        assert record.finished_s == record.token_times_s[-1] <= window.duration_s
        assert list(record.token_times_s) == sorted(record.token_times_s)
        assert record.sent_s < record.token_times_s[0]
        assert record.cached_tokens == 3


def test_open_loop_sends_at_the_first_step_boundary_at_or_after_arrival_and_shows_its_lag() -> None:
    clock = Clock()
    window = drive(OneTokenAStep(clock, 1.0), plan_of([3, 1], None, [0.0, 1.5]), 1e6, clock)
    first, second = window.requests
    assert first.sent_s == pytest.approx(0.0, abs=1e-3)
    assert second.sent_s == pytest.approx(2.0, abs=1e-3)  # the step that ran from 1.0 to 2.0 could not be interrupted
    assert second.sent_s - second.planned_s == pytest.approx(0.5, abs=1e-3)
    assert window.duration_s == pytest.approx(3.0, abs=1e-3)


def test_a_window_over_its_time_aborts_what_is_unfinished() -> None:
    clock = Clock()
    engine = OneTokenAStep(clock, 1.0)
    with pytest.raises(WindowTimeout, match="1 requests unfinished and 1 unsent after 5 s"):
        drive(engine, plan_of([100, 2], 1), 5.0, clock)
    assert engine.aborted == ["r0"]


def test_the_digest_names_every_token_of_every_request() -> None:
    digests = set()
    for tokens in ([1, 2], [2, 1], [1, 3]):
        clock = Clock()
        digests.add(drive(OneTokenAStep(clock, 0.1), plan_of(tokens, 2), 1e6, clock).output_digest)
    assert len(digests) == 3


def test_an_open_loop_window_ends_when_it_is_told_to() -> None:
    """Ten requests, one a second, three steps each: `stop` is asked at every second finish and ends the window at the fourth."""
    clock, asked = Clock(), []
    engine = OneTokenAStep(clock, 1.0)

    def stop(records: Sequence[RequestRecord], now_s: float) -> str | None:
        finished = sum(record.finished_s is not None for record in records)
        asked.append((len(records), finished, round(now_s)))
        return "enough" if finished >= 4 else None

    window = drive(engine, plan_of([3] * 10, None, [float(i) for i in range(10)]), 1e6, clock, stop, 2)
    assert [finished for _, finished, _ in asked] == [2, 4]
    assert all(sent >= finished for sent, finished, _ in asked)
    assert window.stopped == "enough"
    assert [record.request_id for record in window.requests] == [f"r{i}" for i in range(len(window.requests))] and len(window.requests) < 10
    assert sum(record.finished_s is None for record in window.requests) == len(engine.aborted) > 0 and not engine.left
    assert window.tokens.keys() == {record.request_id for record in window.requests} and len(window.output_digest) == 64


def test_a_window_that_is_not_stopped_is_whole() -> None:
    clock, plan = Clock(), plan_of([3] * 6, None, [float(i) for i in range(6)])
    window = drive(OneTokenAStep(clock, 1.0), plan, 1e6, clock, lambda _records, _now_s: None, 1)
    assert window.stopped is None and len(window.requests) == 6


def test_a_closed_loop_is_never_stopped() -> None:
    clock = Clock()
    window = drive(OneTokenAStep(clock, 1.0), plan_of([3] * 6, 2), 1e6, clock, lambda _records, _now_s: "stop", 1)
    assert window.stopped is None and len(window.requests) == 6


def test_the_last_finish_needs_no_question() -> None:
    clock = Clock()
    window = drive(OneTokenAStep(clock, 1.0), plan_of([2, 2], None), 1e6, clock, lambda _records, _now_s: "stop", 2)
    assert window.stopped is None
