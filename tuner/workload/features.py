"""Features of a plan, counted on the very requests that are sent. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.core.contract import PlannedRequest

_QUANTILES = (0, 10, 50, 90, 99, 100)


def plan_features(requests: Sequence[PlannedRequest], max_concurrency: int | None) -> dict[str, Any]:
    """Request count, token totals, length quantiles (tokens), prefix fraction, and for an open loop the offered rate (requests/s)."""
    inputs = [len(request.prompt_token_ids) for request in requests]
    outputs = [request.max_tokens for request in requests]
    features: dict[str, Any] = {
        "requests": len(requests),
        "input_tokens": sum(inputs),
        "output_tokens": sum(outputs),
        "input_quantiles": quantiles(inputs),
        "output_quantiles": quantiles(outputs),
        "prefix_share": shared_prefix_fraction([request.prompt_token_ids for request in requests]),
        "max_concurrency": max_concurrency,
    }
    span_s = max(request.arrival_s for request in requests)
    if max_concurrency is None and span_s > 0:
        features["offered_rate"] = len(requests) / span_s
    return features


def quantiles(lengths: Sequence[int]) -> dict[str, float]:
    """p0, p10, p50, p90, p99, p100; linear interpolation."""
    values = np.percentile(np.asarray(lengths, dtype=float), _QUANTILES)
    return {f"p{quantile}": float(value) for quantile, value in zip(_QUANTILES, values, strict=True)}


def shared_prefix_fraction(prompts: Sequence[Sequence[int]]) -> float:
    """The fraction of all prompt tokens that lie in a prefix which another prompt has as well.

    Sorted, a prompt's longest common prefix with any other is the one with a neighbour, so one pass is enough.
    """
    ordered = [np.asarray(prompt, dtype=np.int64) for prompt in sorted(tuple(prompt) for prompt in prompts)]
    common = [_common_length(left, right) for left, right in pairwise(ordered)]
    best = [max(before, after) for before, after in zip([0, *common], [*common, 0], strict=True)]
    return sum(best) / sum(map(len, ordered))


def _common_length(left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    length = min(len(left), len(right))
    differences = np.flatnonzero(left[:length] != right[:length])
    return int(differences[0]) if len(differences) else length


def infinite_cache_hit_rate(requests_blocks: Iterable[Iterable[Hashable]]) -> float:
    """The prefix-cache hit rate, in blocks, of a cache that never evicts: the fraction of blocks that an earlier request had already.

    A key stands for a block and all before it.
    """
    seen: set[Hashable] = set()
    hits = total = 0
    for blocks in requests_blocks:
        keys = list(blocks)
        hits += sum(key in seen for key in keys)
        total += len(keys)
        seen.update(keys)
    return hits / total if total else 0.0


def block_keys(prompt: Sequence[int], block_tokens: int) -> Iterator[bytes]:
    """One key per block of `block_tokens`, the last one possibly shorter: a chained hash, so equal keys mean equal prefixes."""
    chain, content = hashlib.sha256(), memoryview(np.asarray(prompt, dtype="<i8").tobytes())
    for start in range(0, len(content), 8 * block_tokens):
        chain.update(content[start : start + 8 * block_tokens])
        yield chain.digest()
