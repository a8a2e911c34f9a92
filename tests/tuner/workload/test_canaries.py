"""Canary prompts cross what they are there to cross, and are the same for everybody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.workload.canaries import MOST_TOKENS, OUTPUT_TOKENS, canary_lengths, canary_plan

SIZES = st.sets(st.sampled_from([16, 32, 64, 128, 256, 512]), min_size=1)
BUDGETS = st.sets(st.integers(64, 8192), min_size=1, max_size=4)


@examples(30)
@given(length=st.integers(OUTPUT_TOKENS + 1, 20000), pages=SIZES, budgets=BUDGETS)
def test_every_prompt_fits_and_all_together_are_bounded(length: int, pages: set[int], budgets: set[int]) -> None:
    found = canary_lengths(length, pages, budgets)
    assert found and found == sorted(set(found))
    assert found[-1] + OUTPUT_TOKENS <= length
    assert sum(found) <= MOST_TOKENS


def test_a_segment_ends_on_either_side_of_each_page_and_behind_each_budget() -> None:
    found = canary_lengths(1024, (16, 64), (128, 512))
    assert {15, 17, 63, 65, 129, 513} <= set(found)


def test_the_same_sizes_give_the_same_tokens_and_others_do_not() -> None:
    plan = canary_plan(512, 512, (16, 64), (128,))
    assert plan == canary_plan(512, 512, (64, 16), (128,))
    assert plan.content_hash != canary_plan(513, 512, (16, 64), (128,)).content_hash
    assert max(token for request in plan.requests for token in request.prompt_token_ids) < 512


def test_the_longest_share_a_prefix_that_fills_pages() -> None:
    longest = sorted(canary_plan(512, 512, (16, 64), (128,)).requests, key=lambda item: len(item.prompt_token_ids))[-3:]
    shared = len(longest[0].prompt_token_ids) - 20
    assert shared >= 64
    assert len({request.prompt_token_ids[:shared] for request in longest}) == 1


@pytest.mark.parametrize("length", [1, OUTPUT_TOKENS, OUTPUT_TOKENS + 1])
def test_a_model_of_a_few_tokens_is_asked_one_token(length: int) -> None:
    assert canary_lengths(length, (16,), (128,)) == [1]
