"""The same requests at another rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.core.contract import LoadPlan
from tuner.core.errors import BadInput
from tuner.workload.rates import as_open_loop, at_once, at_rate, own_rate, with_requests
from tuner.workload.spec import WorkloadSpec


def _plan(text: str = "demo", nth: int = 0) -> LoadPlan:
    return as_open_loop(WorkloadSpec.parse(text), nth).plan(vocab_size=512, max_model_len=4096)


PLAN = _plan()


@given(st.floats(0.001, 1e5))
def test_the_same_requests_arrive_at_the_rate_that_is_asked_for(rate: float) -> None:
    plan = at_rate(PLAN, rate)
    assert own_rate(plan) == pytest.approx(rate)
    assert [request.prompt_token_ids for request in plan.requests] == [request.prompt_token_ids for request in PLAN.requests]


def test_plans_at_two_rates_have_two_hashes() -> None:
    assert len({at_rate(PLAN, rate).content_hash for rate in (1.0, 2.0, 4.0)}) == 3


def test_each_draw_of_a_workload_has_other_requests_and_arrivals() -> None:
    first, second = _plan(nth=0), _plan(nth=1)
    assert [item.arrival_s for item in first.requests] != [item.arrival_s for item in second.requests]
    assert [item.prompt_token_ids for item in first.requests] != [item.prompt_token_ids for item in second.requests]


def test_a_closed_loop_becomes_an_open_one() -> None:
    assert _plan("synthetic:input=8,output=4,requests=20,concurrency=4").max_concurrency is None


def test_all_at_once_is_what_a_rate_without_end_would_be() -> None:
    plan = at_once(PLAN)
    assert plan.last_arrival_s == 0.0
    assert len(plan.requests) == len(PLAN.requests)


def test_more_requests_than_the_workload_has_are_drawn() -> None:
    assert len(with_requests(WorkloadSpec.parse("demo"), 77).plan(512, 4096).requests) == 77


def test_what_arrives_at_once_has_no_rate() -> None:
    with pytest.raises(BadInput, match="no arrivals"):
        own_rate(at_once(PLAN))
