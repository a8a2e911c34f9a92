"""Requests of several kinds in one stream, with the weights that are asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.core.errors import BadInput
from tuner.workload.mix import mixed_lengths, part_of_each
from tuner.workload.sources import MixSource
from tuner.workload.spec import WorkloadSpec

CHAT: dict[str, Any] = {"weight": 3, "input": {"kind": "fixed", "value": 20}, "output": {"kind": "fixed", "value": 8}, "prefix_share": 0.5}
SUMMARY: dict[str, Any] = {"weight": 1.0, "input": {"kind": "uniform", "low": 100, "high": 140}, "output": {"kind": "fixed", "value": 4}}
MIX: dict[str, Any] = {"source": {"kind": "mix", "num_prompts": 400, "parts": [CHAT, SUMMARY]}, "load": {"max_concurrency": 8}, "seed": 5}


def spec(**source: Any) -> WorkloadSpec:
    return WorkloadSpec.from_mapping({**MIX, "source": {**MIX["source"], **source}})


@examples(30)
@given(weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_parts_come_as_often_as_their_weights_say(weights: list[float], seed: int) -> None:
    parts = [{**CHAT, "weight": weight} for weight in weights]
    belongs = part_of_each(MixSource.model_validate({"num_prompts": 2000, "parts": parts}), seed)
    for number, weight in enumerate(weights):
        assert belongs.count(number) / 2000 == pytest.approx(weight / sum(weights), abs=0.06)


def test_each_request_has_the_lengths_and_the_prefix_of_its_part() -> None:
    plan = spec().plan(1000, 512)
    chats = [item for item in plan.requests if item.max_tokens == 8]
    summaries = [item for item in plan.requests if item.max_tokens == 4]
    assert len(chats) + len(summaries) == 400 and 250 < len(chats) < 350
    assert {len(item.prompt_token_ids) for item in chats} == {20}
    assert all(100 <= len(item.prompt_token_ids) <= 140 for item in summaries)
    assert len({item.prompt_token_ids[:10] for item in chats}) == 1
    assert len({item.prompt_token_ids[:10] for item in summaries}) == len(summaries)


def test_a_part_draws_the_same_lengths_whatever_the_others_are() -> None:
    other = {**CHAT, "input": {"kind": "fixed", "value": 33}}
    found = [mixed_lengths(item.source, 5) for item in (spec(), spec(parts=[other, SUMMARY])) if isinstance(item.source, MixSource)]
    assert [pair for pair in found[0] if pair[1] == 4] == [pair for pair in found[1] if pair[1] == 4]


def test_the_same_mix_is_the_same_and_is_read_as_it_was_written() -> None:
    assert spec().plan(1000, 512) == spec().plan(1000, 512)
    assert WorkloadSpec.from_mapping(spec().to_json()) == spec()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"parts": [CHAT]}, "source.parts"),
        ({"parts": [CHAT, {**CHAT, "weight": 0}]}, "weight"),
        ({"parts": [CHAT, {**CHAT, "wieght": 1}]}, "wieght"),
    ],
)
def test_a_mix_that_is_none_is_refused(source: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        spec(**source)


def test_a_part_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInput, match="does not fit max_model_len 100"):
        spec().plan(1000, 100)
