"""Messages by field name: whatever is written is read back, and a peer with other fields is told which one."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from tuner.core.contract import LoadPlan, PlannedRequest, RequestRecord, StepRecord
from tuner.engine.messages import Fork, Measure, Measured, Nothing, Profile
from tuner.engine.wire_fields import WrongFields, from_fields, to_fields
from tuner.workload.phases import PhaseLoad

PLAN = LoadPlan((PlannedRequest("a", (1, 2, 3), 4, 0.5), PlannedRequest("b", (), 1)), None, "hash", stop_when_saturated=True)
STEP = StepRecord(
    start_s=0.1, duration_s=0.2, scheduled_tokens=3, padded_tokens=16, prefill_tokens=2, prefill_requests=1, decode_requests=1
)
RECORD = RequestRecord("a", 3, 0.0, 0.1, (0.2, 0.3), None, cached_tokens=1, error="aborted")
MEASURED = Measured(
    requests=(RECORD,),
    tokens={"a": (7, 8)},
    steps=(STEP, STEP),
    started_at=1.5,
    duration_s=0.4,
    compilations=0,
    output_digest="d",
    stopped=None,
    details={"any": ["thing", {"at": 1}]},
)
EMPTY = replace(MEASURED, requests=(), steps=())
LOAD = PhaseLoad("mixed", PLAN.requests, 2, PLAN.requests[:1])
PROFILE = Profile(load=LOAD, logdir="/l", run="r", session="s", timeout_s=1.0, steps=15, max_bytes=10)


@pytest.mark.parametrize("message", [Nothing(), Measure(PLAN, 2.0), MEASURED, EMPTY, PROFILE, Fork("x", {})])
def test_a_message_arrives_as_it_was_sent(message: object) -> None:
    assert from_fields(type(message), json.loads(json.dumps(to_fields(message)))) == message


def test_a_field_may_move_without_another_being_taken_for_it() -> None:
    """Steps once went as bare lists: a field put in the middle would have shifted all behind it."""
    raw = to_fields(STEP)
    assert from_fields(StepRecord, dict(reversed(raw.items()))) == STEP


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda raw: raw["steps"][1].pop("padded_tokens"), "StepRecord: the field padded_tokens is missing"),
        (lambda raw: raw["requests"][0].update(spec_tokens=3), "RequestRecord: the field spec_tokens is unknown"),
        (lambda raw: raw.pop("stopped"), "Measured: the field stopped is missing"),
        (lambda raw: raw.update(steps={}), "Measured.steps must be a list, got dict"),
        (lambda raw: raw.update(tokens=[]), "Measured.tokens must be an object, got list"),
        (lambda raw: raw["steps"].insert(0, [0.1, 0.2, 3, 16, 2, 1, 1]), "StepRecord must be an object, got list"),
    ],
)
def test_a_peer_with_other_fields_is_told_which(change: object, word: str) -> None:
    assert callable(change)
    raw = json.loads(json.dumps(to_fields(MEASURED)))
    change(raw)
    with pytest.raises(WrongFields, match=word) as caught:
        from_fields(Measured, raw)
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_not_filled_with_its_default() -> None:
    """Between two releases a default may have changed its meaning."""

    @dataclass(frozen=True)
    class Message:
        known: int
        added: int = 0

    with pytest.raises(WrongFields, match="Message: the field added is missing"):
        from_fields(Message, {"known": 1})
