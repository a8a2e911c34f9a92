"""Canary prompts: fixed requests that show whether an engine still answers as it should. Pure.

Their lengths cross every page size and chunk budget of a study, they are batched with each other, and some share a prefix: so segments end
inside pages, prefill runs beside decode, and pages are found again. Whoever asks for the same sizes gets the same tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np

from tuner.core.contract import LoadPlan, PlannedRequest
from tuner.workload.prompts import Stream, stream

OUTPUT_TOKENS = 12
CONCURRENCY = 8
MOST_TOKENS = 8192  # of all prompts together: half a second or two on a CPU
_SEED = 19878
_FIXED = (1, 2, 9, 40, 77, 100, 140, 200, 300)  # tokens; the least of what is asked
_SHARING = 3  # of the longest prompts, which have all but their end in common
_OWN_END = 20  # tokens


def canary_lengths(max_model_len: int, page_sizes: Collection[int], chunk_budgets: Collection[int]) -> list[int]:
    """Of the prompts, ascending: one token on either side of each page size and behind each budget, as far as they fit."""
    longest = max(1, max_model_len - OUTPUT_TOKENS)
    wanted = {*_FIXED, *(size + side for size in page_sizes for side in (-1, 1)), *(budget + 1 for budget in chunk_budgets)}
    found: list[int] = []
    for length in sorted(min(length, longest) for length in wanted if length > 0):
        if length not in found and sum(found) + length <= MOST_TOKENS:
            found.append(length)
    return found


def canary_plan(vocab_size: int, max_model_len: int, page_sizes: Collection[int], chunk_budgets: Collection[int]) -> LoadPlan:
    """A closed loop of at most 8 requests at a time, 12 tokens each."""
    lengths = canary_lengths(max_model_len, page_sizes, chunk_budgets)
    shared = stream(_SEED, Stream.PREFIXES, 0).integers(0, vocab_size, lengths[-1])
    prompts = []
    for index, length in enumerate(lengths):
        own = stream(_SEED, Stream.PROMPTS, index).integers(0, vocab_size, length)
        if index >= len(lengths) - _SHARING and length > _OWN_END:
            own = np.concatenate([shared[: length - _OWN_END], own[:_OWN_END]])
        prompts.append(PlannedRequest(f"canary-{length}", tuple(map(int, own)), OUTPUT_TOKENS))
    order = stream(_SEED, Stream.INPUT_LENGTHS).permutation(len(prompts))
    requests = tuple(prompts[index] for index in order)
    return LoadPlan(requests, CONCURRENCY, hashlib.sha256(repr(requests).encode()).hexdigest())
