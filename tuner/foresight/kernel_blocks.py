"""RPA's block sizes ranked by the code that libtpu makes of them, beside tpu-inference's tuned tables.

Nothing is run. A kernel's work for one query and one token of the cache is the same whatever its blocks are, so candidates are compared by
what the code issues for one matrix product. What waits for HBM is not seen: the order says what to measure first, not what is fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.core.errors import BadInput
from tuner.foresight.bundles import BUNDLES, MATMULS, SCALAR, SPILLS, Counts
from tuner.foresight.look import Look, Side
from tuner.foresight.profile_difference import blocks_of
from tuner.foresight.sides import BLOCK_SIZES
from tuner.foresight.tuned_blocks import Blocks

Json = dict[str, Any]
Sizes = tuple[int, int, int, int]  # bq, bkv, bq compute, bkv compute in tokens: the order of RPA_V3_*_BLOCK_SIZES
VARIABLES = dict(zip(("decode", "prefill", "mixed"), BLOCK_SIZES, strict=True))
CASES = ("decode", "mixed")  # vLLM's steps have no kernel of prefills alone
_UNPACKED = "matmuls_unpacked"
_SHORTEST, _LONGEST = 256, 8192  # of the KV blocks that are tried
_QUERIES = (32, 64, 128, 256)


@dataclass(frozen=True)
class Candidate:
    """Block sizes and the code of their kernel; `refused`: why there is none. `given` None: the engine's own choice."""

    given: Sizes | None
    sizes: Sizes | None
    code: Counts
    refused: str | None = None

    @property
    def matmuls(self) -> float:
        return self.code.get(MATMULS, 0.0) + self.code.get(_UNPACKED, 0.0)

    def each(self, label: str) -> float:
        """Of `label`, for one matrix product; infinite where the code has none."""
        return self.code.get(label, 0.0) / self.matmuls if self.matmuls else float("inf")

    def is_entry(self, winner: Blocks, page: int) -> bool:
        """Whether it fetches what a table's entry says: its pages of the cache and its queries."""
        return self.sizes is not None and self.sizes[:2] == (winner.queries, winner.pages * page)

    def to_json(self) -> Json:
        counts = {name: self.code.get(label, 0.0) for name, label in (("bundles", BUNDLES), ("scalar", SCALAR), ("spills", SPILLS))}
        found = {**counts, "matmuls": self.matmuls, "bundles_per_matmul": self.each(BUNDLES)} if self.refused is None else {}
        sizes = None if self.sizes is None else list(self.sizes)
        return {"block_sizes": sizes, "engines_own": self.given is None, "refused": self.refused, **found}


def tried(case: str, page: int, budget: int, max_model_len: int, winner: Blocks | None) -> list[Sizes]:
    """Block sizes that cover what is sensible for a case of CASES: powers of two that hold whole pages and no more than a request, computed
    whole and in parts; and those of a table's entry."""
    longest = max(_up(max_model_len, page), page)
    blocks = [size for size in _powers(_SHORTEST, _LONGEST) if size % page == 0 and size <= longest] or [longest]
    found: list[Sizes] = []
    if case == "decode":
        for bkv in blocks:
            parts = [part for part in (bkv, bkv // 4) if part % page == 0 and part >= min(_SHORTEST, bkv)]
            found.extend((1, bkv, 1, part) for part in parts)
        return found
    for bq in _QUERIES:
        if bq <= budget:
            found.extend((bq, bkv, max(1, bq // 2), max(page, bkv // 2)) for bkv in blocks if bkv in (512, 1024, 2048))
    if winner is not None:
        bkv = winner.pages * page
        found.append((winner.queries, bkv, winner.queries, bkv))
    return list(dict.fromkeys(found))


def compiled(look: Look, side: Side, case: str, every: Iterable[Sizes | None], said: Callable[[str], None]) -> list[Candidate]:
    """The engine's own choice (None) and others, each compiled. Raises BadInput where the step of `side` has no such kernel whatever the
    sizes, TrialFailed where nothing can be known."""
    found = []
    for sizes in every:
        said(f"{case} kernel, block sizes {'of the engine' if sizes is None else ','.join(map(str, sizes))}")
        found.append(_one(look, side, case, sizes))
    return found


def _one(look: Look, side: Side, case: str, sizes: Sizes | None) -> Candidate:
    chosen = {} if sizes is None else {VARIABLES[case]: ",".join(map(str, sizes))}
    try:
        profile = look.at(replace(side, environment={**side.environment, **chosen}))
    except BadInput as error:
        if sizes is None:
            raise
        return Candidate(sizes, sizes, {}, refused=str(error))
    for row in profile.kernels:
        blocks = blocks_of(row.name)
        if blocks is not None and blocks.case == f"RPA {case}":
            return Candidate(sizes, blocks.sizes, row.code)
    raise BadInput(f"has no RPA kernel in a step of {profile.tokens} tokens: these heads have another one", setting="--case", value=case)


def ranked(found: Sequence[Candidate]) -> list[Candidate]:
    """The fewest bundles for a matrix product first, of equals the fewest spills; what is refused last. Two names of the same sizes stay
    one: the engine's own."""
    own = {each.sizes for each in found if each.given is None}
    kept = [each for each in found if each.given is None or each.sizes not in own]
    return sorted(kept, key=lambda each: (each.refused is not None, each.each(BUNDLES), each.each(SPILLS)))


def place_of(winner: Blocks, page: int, order: Sequence[Candidate]) -> int | None:
    """From 1, of the first candidate that fetches as a table's entry does; None where there is none."""
    places = (place for place, each in enumerate(order, 1) if each.refused is None and each.is_entry(winner, page))
    return next(places, None)


def _powers(first: int, last: int) -> Iterable[int]:
    while first <= last:
        yield first
        first *= 2


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
