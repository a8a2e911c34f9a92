"""Loads of one phase: made of the workload's prompts, within the engine's limits, never the same prompt twice in a row of turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.session_plan import PHASES, phase_of
from tuner.core.contract import LoadPlan, PlannedRequest
from tuner.workload.phases import nth, phase_load, possible_phases

REQUESTS = st.lists(
    st.builds(
        PlannedRequest,
        st.uuids().map(str),
        st.lists(st.integers(0, 500), min_size=1, max_size=120).map(tuple),
        st.integers(1, 30),
        st.floats(0, 5),
    ),
    min_size=1,
    max_size=8,
)


@given(REQUESTS, st.sampled_from(PHASES), st.integers(16, 512), st.integers(3, 64), st.integers(64, 512), st.none() | st.integers(1, 80))
def test_every_load_fits_the_engine(
    requests: list[PlannedRequest], phase: str, budget: int, max_num_seqs: int, max_model_len: int, concurrency: int | None
) -> None:
    load = phase_load(phase, LoadPlan(tuple(requests), concurrency, "hash"), budget, max_num_seqs, max_model_len)
    assert 1 <= load.in_flight <= max_num_seqs
    for request in load.standing:
        assert len(request.prompt_token_ids) >= 1 and request.max_tokens >= 1 and request.arrival_s == 0.0
        if phase != "prefill":
            assert len(request.prompt_token_ids) + request.max_tokens == max_model_len
    for request in load.arriving:
        tokens = len(request.prompt_token_ids)
        assert load.in_flight + 1 <= max_num_seqs and load.in_flight + tokens <= budget
        assert phase_of(tokens / (tokens + load.in_flight)) == phase == "mixed"


@given(REQUESTS, st.integers(0, 50))
def test_a_series_never_ends_and_turns_its_prompts(requests: list[PlannedRequest], turns: int) -> None:
    series = [nth(requests, turns * len(requests) + index) for index in range(len(requests))]
    assert len({request.request_id for request in [*series, *(nth(requests, index) for index in range(turns * len(requests)))]}) == (
        (turns + 1) * len(requests)
    )
    for original, turned in zip(requests, series, strict=True):
        by = turns % len(original.prompt_token_ids)
        assert turned.prompt_token_ids == (*original.prompt_token_ids[by:], *original.prompt_token_ids[:by])
        assert turned.max_tokens == original.max_tokens


def test_a_phase_that_cannot_be_is_refused() -> None:
    plan = LoadPlan((PlannedRequest("a", (1, 2), 3),), None, "hash")
    assert possible_phases(2) == ("prefill", "decode")
    with pytest.raises(ValueError, match="phase 'mixed': with max_num_seqs 2 use one of prefill, decode"):
        phase_load("mixed", plan, 64, 2, 64)
    with pytest.raises(ValueError, match="phase 'other'"):
        phase_load("other", plan, 64, 8, 64)


def test_short_answers_end_a_prefill_and_a_closed_loop_keeps_its_concurrency() -> None:
    plan = LoadPlan(tuple(PlannedRequest(str(index), (1, 2, 3), 30) for index in range(9)), 4, "hash")
    prefill, decode, mixed = (phase_load(phase, plan, 64, 16, 128) for phase in PHASES)
    assert {request.max_tokens for request in prefill.standing} == {1} and prefill.in_flight == 4
    assert decode.in_flight == 4
    assert mixed.in_flight == 3 and {len(request.prompt_token_ids) for request in mixed.arriving} == {3}
