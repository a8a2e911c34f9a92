from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.workload.prompts import Stream, block_prompts, grouped_prompts, stream

VOCAB = 1000


@examples(40)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    fraction=st.floats(0, 1),
    groups=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_prompts_have_their_length_and_their_groups_prefix(lengths: list[int], fraction: float, groups: int, seed: int) -> None:
    prompts = grouped_prompts(lengths, fraction, groups, VOCAB, seed)
    assert [len(prompt) for prompt in prompts] == lengths
    assert all(prompt.min() >= 0 and prompt.max() < VOCAB for prompt in prompts)
    for left in range(len(prompts)):
        for right in range(left % groups, left, groups):
            common = min(round(fraction * lengths[left]), round(fraction * lengths[right]))
            assert np.array_equal(prompts[left][:common], prompts[right][:common])


def test_groups_and_own_parts_differ() -> None:
    prompts = grouped_prompts([100] * 4, 0.5, 2, VOCAB, seed=3)
    assert np.array_equal(prompts[0][:50], prompts[2][:50])
    assert not np.array_equal(prompts[0][:50], prompts[1][:50])
    assert not np.array_equal(prompts[0][50:], prompts[2][50:])


def test_without_a_common_prefix_nothing_is_shared() -> None:
    first, second = grouped_prompts([64, 64], 0.0, 1, VOCAB, seed=3)
    assert np.mean(first == second) < 0.1


def test_streams_are_independent_and_repeatable() -> None:
    draws = {tuple(stream(5, purpose, key).integers(0, 2**31, 4)) for purpose in Stream for key in range(3)}
    assert len(draws) == 3 * len(Stream)
    assert stream(5, Stream.PROMPTS, 1).integers(0, 2**31) == stream(5, Stream.PROMPTS, 1).integers(0, 2**31)


def test_equal_block_ids_are_equal_tokens_and_the_last_block_is_cut() -> None:
    first, second, clipped = block_prompts([10, 12, 5], [[7, 8, 9], [7, 8, 4], [7, 8, 9]], 4, VOCAB, seed=1)
    assert [len(first), len(second), len(clipped)] == [10, 12, 5]
    assert np.array_equal(first[:8], second[:8])
    assert not np.array_equal(first[8:10], second[8:10])
    assert np.array_equal(clipped, first[:5])
    assert not np.array_equal(first[:4], first[4:8])


@pytest.mark.parametrize("groups", [3, 4, 10**9])
def test_groups_that_no_request_belongs_to_change_nothing_and_cost_nothing(groups: int) -> None:
    found = grouped_prompts([8, 9, 8], 0.5, groups, 1000, 7)
    assert [prompt.tolist() for prompt in found] == [prompt.tolist() for prompt in grouped_prompts([8, 9, 8], 0.5, 3, 1000, 7)]
