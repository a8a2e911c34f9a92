"""Two static profiles side by side: what differs, and why, as far as it can be told from the kernels' own names and counts. Pure.

Kernels are paired by what they are, not by their whole name: `RPAd-p_128-bq_1_1-bkv_4096_4096` is the decode kernel at whatever page and
block sizes, which its name states (tpu-inference, kernels/ragged_paged_attention/v3/kernel.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.numbers import number, signed
from tuner.foresight.bundles import BUNDLES, FILLS, MATMULS, SCALAR, SPILLS, Counts
from tuner.foresight.static_profile import Row, StaticProfile, summed, total

Json = dict[str, Any]

_RPA = re.compile(r"RPA(?P<case>[a-z])-p_(?P<page>\d+)-bq_(?P<bq>\d+)_(?P<bq_compute>\d+)-bkv_(?P<bkv>\d+)_(?P<bkv_compute>\d+)")
_CASES = {"d": "RPA decode", "p": "RPA prefill", "m": "RPA mixed"}
_COPY = re.compile(r"(\.\d+)+$")  # XLA's suffix of a second instruction of that name
_SAME = 0.5  # counts are whole


@dataclass(frozen=True)
class Blocks:
    """What an RPA kernel's name says. Tokens."""

    case: str
    page: int
    sizes: tuple[int, int, int, int]  # (bq, bkv, bq compute, bkv compute), the order of RPA_V3_*_BLOCK_SIZES

    @property
    def pages_per_block(self) -> int:
        return -(-self.sizes[1] // self.page)


def blocks_of(name: str) -> Blocks | None:
    """None for what is no RPA kernel."""
    found = _RPA.search(name)
    if found is None:
        return None
    sizes = tuple(int(found[part]) for part in ("bq", "bkv", "bq_compute", "bkv_compute"))
    return Blocks(_CASES.get(found["case"], f"RPA {found['case']}"), int(found["page"]), (sizes[0], sizes[1], sizes[2], sizes[3]))


@dataclass(frozen=True)
class Pair:
    """A kernel on both sides: its code, that of all its instances together; empty where a side has none."""

    kernel: str
    names: tuple[str | None, str | None]
    code: tuple[Counts, Counts]
    reasons: tuple[str, ...]

    def to_json(self) -> Json:
        return {"kernel": self.kernel, "names": self.names, "code": self.code, "reasons": self.reasons}


@dataclass(frozen=True)
class Difference:
    """`categories`: category -> its sums on both sides."""

    pairs: tuple[Pair, ...]
    categories: dict[str, tuple[Json, Json]]

    def to_json(self) -> Json:
        return {"kernels": [pair.to_json() for pair in self.pairs], "categories": self.categories}


def difference(one: StaticProfile, other: StaticProfile) -> Difference:
    sides = (_families(one.kernels), _families(other.kernels))
    sums = (one.categories(), other.categories())
    none = total([])
    return Difference(
        tuple(_pair(family, [side.get(family, []) for side in sides]) for family in dict.fromkeys([*sides[0], *sides[1]])),
        {each: (sums[0].get(each, none), sums[1].get(each, none)) for each in dict.fromkeys([*sums[0], *sums[1]])},
    )


def family(name: str) -> str:
    """What a kernel is, whatever its sizes."""
    blocks = blocks_of(name)
    return _COPY.sub("", name) if blocks is None else blocks.case


def _families(kernels: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in kernels:
        found.setdefault(family(row.name), []).append(row)
    return found


def _pair(kernel: str, sides: Sequence[Sequence[Row]]) -> Pair:
    names = tuple(_COPY.sub("", rows[0].name) if rows else None for rows in sides)
    code = (summed(row.code for row in sides[0]), summed(row.code for row in sides[1]))
    return Pair(kernel, (names[0], names[1]), code, tuple(_reasons((names[0], names[1]), code)))


def _reasons(names: tuple[str | None, str | None], code: tuple[Counts, Counts]) -> list[str]:
    if names[0] is None or names[1] is None:
        return ["only one of the two programs has it"]
    if code[0] == code[1]:
        return ["the same code" if names[0] == names[1] else "other sizes, the same number of bundles and operations"]
    one, other = blocks_of(names[0]), blocks_of(names[1])
    if one is None or other is None:
        return []
    found = []
    if one.sizes == other.sizes and one.page != other.page:
        found += _page_reasons(one, other, code)
    elif one.sizes != other.sizes:
        words = " against ".join(",".join(map(str, each.sizes)) for each in (one, other))
        found.append(f"another block (bq, bkv, bq compute, bkv compute): {words}; compare by matrix product, as a loop's body stands once")
        found += _per_product(code)
    if all(code[0].get(label, 0) == code[1].get(label, 0) for label in (SPILLS, FILLS)):
        found.append(f"VMEM spills and fills are the same: {number(code[0].get(SPILLS, 0), 6)} and {number(code[0].get(FILLS, 0), 6)}")
    return found


def _page_reasons(one: Blocks, other: Blocks, code: tuple[Counts, Counts]) -> list[str]:
    pages = other.pages_per_block - one.pages_per_block
    scalar, bundles = (code[1].get(label, 0) - code[0].get(label, 0) for label in (SCALAR, BUNDLES))
    if not pages or abs(scalar) < _SAME:
        return []
    divided = ", ".join(f"{each.pages_per_block} pages of {each.page}" for each in (one, other))
    block = f"a KV block of {number(one.sizes[1], 6)} tokens is {divided}"
    cost = f"{number(scalar / pages, 3)} scalar operations and {number(bundles / pages, 3)} bundles"
    return [f"{block}: each page costs {cost} (its copy's address and start)"]


def _per_product(code: tuple[Counts, Counts]) -> list[str]:
    products = [each.get(MATMULS, 0) for each in code]
    if not all(products):
        return []
    rates = [each.get(SPILLS, 0) / count for each, count in zip(code, products, strict=True)]
    words = f"{number(rates[0], 3)} against {number(rates[1], 3)}"
    return [f"VMEM spills a packed matrix product: {words} ({signed(rates[1] - rates[0])})"]
