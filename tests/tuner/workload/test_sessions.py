"""Sessions grow turn by turn, share what they should, and are the same in every process."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.core.contract import LoadPlan
from tuner.core.errors import BadInput
from tuner.workload.rates import as_open_loop
from tuner.workload.sessions import session_turns
from tuner.workload.spec import WorkloadSpec

TEXT = "sessions:sessions=5,turns=1-4,input=8-40,output=4-12,shared_prefix=20,think_s=3,seed=2"
TURNS = st.lists(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=6), min_size=1, max_size=5)


def plan_of(text: str, max_model_len: int = 2048) -> LoadPlan:
    return WorkloadSpec.parse(text).plan(1000, max_model_len)


@examples(30)
@given(sessions=TURNS, prefix=st.integers(0, 60), most=st.integers(1, 300))
def test_a_prompt_is_all_that_was_said_before_and_the_new_question(sessions: list[list[tuple[int, int]]], prefix: int, most: int) -> None:
    for turns, found in zip(sessions, session_turns(sessions, prefix, most), strict=True):
        assert all(item.input_tokens + item.output_tokens <= most for item in found)
        for number, item in enumerate(found):
            assert item.input_tokens == prefix + sum(map(sum, turns[:number])) + turns[number][0]
        if len(found) < len(turns):
            assert prefix + sum(map(sum, turns[: len(found) + 1])) > most, "it ended because it had to"


def test_each_prompt_begins_with_the_one_before_it_and_all_share_the_first_tokens() -> None:
    plan = plan_of(f"{TEXT},rate=2")
    prompts = [request.prompt_token_ids for request in plan.requests]
    assert len({prompt[:20] for prompt in prompts}) == 1
    grown = sum(any(prompt[: len(other)] == other for other in prompts if len(other) < len(prompt)) for prompt in prompts)
    assert grown == len(prompts) - 5, "every turn but the five first ones continues another"


def test_think_times_are_kept_in_an_open_loop_and_the_rate_counts_requests() -> None:
    plan = plan_of("sessions:sessions=400,turns=3,input=4,output=2,think_s=5,rate=10")
    arrivals = [request.arrival_s for request in plan.requests]
    assert arrivals == sorted(arrivals) and len(arrivals) == 1200
    by_session: dict[tuple[int, ...], list[float]] = {}
    for request in plan.requests:
        by_session.setdefault(request.prompt_token_ids[:4], []).append(request.arrival_s)
    gaps = [later - earlier for times in by_session.values() for earlier, later in pairwise(times)]
    assert sum(gaps) / len(gaps) == pytest.approx(5, rel=0.15)
    assert sum(time < 120 for time in arrivals) / 120 == pytest.approx(10, rel=0.15)


def test_a_closed_loop_goes_round_the_sessions_that_run_at_once() -> None:
    plan = plan_of("sessions:sessions=4,turns=2,input=4,output=2,concurrency=2")
    assert plan.max_concurrency == 2
    assert [len(request.prompt_token_ids) for request in plan.requests] == [4, 4, 10, 10] * 2
    assert {request.arrival_s for request in plan.requests} == {0.0}


def test_the_same_spec_gives_the_same_requests_and_another_seed_others() -> None:
    assert plan_of(f"{TEXT},rate=2") == plan_of(f"{TEXT},rate=2")
    assert plan_of(f"{TEXT},rate=2").content_hash != plan_of(f"{TEXT.replace('seed=2', 'seed=3')},rate=2").content_hash
    spec = WorkloadSpec.parse(f"{TEXT},rate=2,burst=4:30:5")
    assert WorkloadSpec.from_mapping(spec.to_json()) == spec


def test_a_session_that_does_not_fit_ends_and_one_that_never_fits_is_refused() -> None:
    assert len(plan_of("sessions:sessions=3,turns=9,input=30,output=10,concurrency=2", 100).requests) == 6
    with pytest.raises(BadInput, match="no session's first turn fits max_model_len 30"):
        plan_of("sessions:sessions=3,turns=9,input=30,output=10,concurrency=2", 30)


def recorded(path: Path, *conversations: list[str]) -> Path:
    entries: list[dict[str, Any]] = [{"conversations": [{"from": "x", "value": text} for text in texts]} for texts in conversations]
    path.write_text(json.dumps(entries))
    return path


def test_recorded_conversations_are_replayed_turn_by_turn(tmp_path: Path) -> None:
    path = recorded(
        tmp_path / "c.json", ["a" * 40, "b" * 20, "c" * 8, "d" * 12, "e" * 4], ["f" * 16, "g" * 16, "h" * 4, "", "i" * 9, "j" * 9]
    )
    lengths = [(len(item.prompt_token_ids), item.max_tokens) for item in plan_of(f"sharegpt:{path},turns=5,concurrency=2").requests]
    assert lengths == [(10, 5), (4, 4), (17, 3)], "a question without an answer, or an empty one, ends a session"
    assert [len(item.prompt_token_ids) for item in plan_of(f"sharegpt:{path}").requests] == [10, 4], "as before without turns"
    assert WorkloadSpec.parse(f"sharegpt:{path},turns=5,rate=1").summary(plan_of(f"sharegpt:{path},turns=5,rate=1"))["sessions"] == 2
    assert "turns" not in WorkloadSpec.parse(f"sharegpt:{path}").to_json()["source"], "what is stored of it is what was stored before"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sessions:sessions=2,turns=2,input=4,output=2,burst=4:30", "write FACTOR:EVERY:LENGTH"),
        ("sessions:sessions=2,turns=2,input=4,output=2,rate=1,burst=4:5:30", "length_s must be below every_s"),
        ("synthetic:input=4,output=2,rate=1,ramp_to=2,burst=4:30:5", "give either ramp_to or burst"),
        ("synthetic:input=4,output=2,concurrency=1,ramp_to=2", "ramp_to and burst need a finite request_rate"),
        ("synthetic:input=4,output=2,rate=inf,burst=4:30:5", "ramp_to and burst need a finite request_rate"),
        ("sharegpt:x.json,think_s=3,rate=1", "think_s needs turns above 1"),
        ("sharegpt:x.json,turns=3,max_input_tokens=9,rate=1", "do not go with turns"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason) as caught:
        WorkloadSpec.parse(text)
    assert "\n" not in str(caught.value)


def test_a_rate_that_changes_cannot_be_stretched_to_another() -> None:
    with pytest.raises(BadInput, match="drop ramp_to and burst"):
        as_open_loop(WorkloadSpec.parse("synthetic:input=4,output=2,rate=1,ramp_to=2"))
