"""Token ids of prompts: seeded, independent of process and platform (numpy's PCG64), without global state."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


class Stream(IntEnum):
    """One random stream per purpose, so that a change in one (say, the lengths) leaves the others as they are."""

    INPUT_LENGTHS = 0
    OUTPUT_LENGTHS = 1
    ARRIVALS = 2
    PREFIXES = 3
    PROMPTS = 4
    BLOCKS = 5
    TURNS = 6
    THINKING = 7
    MIX = 8


def stream(seed: int, purpose: Stream, *key: int) -> np.random.Generator:
    """The generator of one purpose; `key` (numbers >= 0) tells several of the same purpose apart."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, int(purpose), *key])))


def grouped_prompts(input_lengths: Sequence[int], prefix_share: float, prefix_groups: int, vocab_size: int, seed: int) -> list[Tokens]:
    """One prompt per length. Request i starts with the first round(prefix_share x length) tokens of group i mod `prefix_groups`."""
    longest = round(prefix_share * max(input_lengths))
    prefixes = [
        stream(seed, Stream.PREFIXES, group).integers(0, vocab_size, longest) for group in range(min(prefix_groups, len(input_lengths)))
    ]
    prompts = []
    for index, length in enumerate(input_lengths):
        shared = round(prefix_share * length)
        own = stream(seed, Stream.PROMPTS, index).integers(0, vocab_size, length - shared)
        prompts.append(np.concatenate([prefixes[index % prefix_groups][:shared], own]))
    return prompts


def block_prompts(
    input_lengths: Sequence[int], block_ids: Sequence[Sequence[int]], block_tokens: int, vocab_size: int, seed: int
) -> list[Tokens]:
    """One prompt per length, put together from blocks of `block_tokens`: the same id is the same tokens, the last block is cut to fit.

    A prompt needs ceil(length / block_tokens) ids; further ones (of a clipped request) are ignored.
    """
    blocks: dict[int, Tokens] = {}
    prompts = []
    for length, ids in zip(input_lengths, block_ids, strict=True):
        needed = ids[: -(-length // block_tokens)]
        for block_id in needed:
            if block_id not in blocks:
                blocks[block_id] = stream(seed, Stream.BLOCKS, block_id).integers(0, vocab_size, block_tokens)
        prompts.append(np.concatenate([blocks[block_id] for block_id in needed])[:length])
    return prompts
