"""Does the compiled code say which block sizes of RPA are fast? Compiled for a TPU that is not here; nothing is run.

    python -m bench.foresee_block_code --rule
    python -m bench.foresee_block_code [--chip v6e] [--shapes 16/2/2048,32/4/4096,64/8/8192] [--pages 2,4,8,16] [--queries 16,32,64,128]

The kernel for heads of 64 (tpu-inference's ragged_paged_attention_hd64, pages of 256 tokens, bfloat16) is the one whose own tuned table is
the installed kernel's: blocks of (pages, queries), measured by its authors. Each candidate is compiled, libtpu's static bundle profile is
read, and the candidates are ranked by what a round of the loop issues for one query and one token of the cache (a round computes queries x
pages x 256 of these). Shapes: query heads/KV heads/max_model_len.
--rule compiles nothing: how often the table's winner is a block of the whole sequence, at most 16 pages, with 32 queries.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench.lib.options import numbers
from tuner.cli.tables import text_table
from tuner.core.numbers import number
from tuner.foresight.bundles import BUNDLES, MATMULS, SCALAR, SPILLS, Counts, parse
from tuner.foresight.compiler import compiling_environment
from tuner.foresight.dump import Dump
from tuner.foresight.target import target_of
from tuner.foresight.tuned_blocks import Blocks

PAGE, HEAD = 256, 64
TOKENS, REQUESTS = 2048, 64
DEVICE_NAMES = {"v5e": "TPU v5e", "v6e": "TPU v6e", "7x": "TPU v7"}

_WHOLE = re.compile(r"max_model_len-(\d+)-sw-None")

# TPU -> tokens of a page -> types -> heads -> length -> the winner's blocks; tpu-inference's own form.
type Table = Mapping[str, Mapping[int, Mapping[str, Mapping[str, Mapping[str, Sequence[int]]]]]]


@dataclass(frozen=True)
class Shape:
    query_heads: int
    kv_heads: int
    max_model_len: int

    def __str__(self) -> str:
        return f"{self.query_heads}/{self.kv_heads}/{self.max_model_len}"


@dataclass(frozen=True)
class Code:
    """A candidate and the counts of its kernel."""

    blocks: Blocks
    counts: Counts

    @property
    def matmuls(self) -> float:
        return self.counts.get(MATMULS, 0.0) + self.counts.get("matmuls_unpacked", 0.0)

    def each(self, label: str) -> float:
        """Of `label`, for one query and one token of the cache."""
        return self.counts.get(label, 0.0) / (self.blocks.queries * self.blocks.pages * PAGE)

    @property
    def spills_a_matmul(self) -> float:
        return self.counts.get(SPILLS, 0.0) / max(1.0, self.matmuls)


RANKINGS: dict[str, Callable[[Code], tuple[float, ...]]] = {
    "bundles": lambda code: (code.each(BUNDLES),),
    "scalar operations": lambda code: (code.each(SCALAR),),
    "spills a matrix product": lambda code: (code.spills_a_matmul, code.each(BUNDLES)),
    "longest block": lambda code: (-code.blocks.pages, abs(code.blocks.queries - 32)),
}


def place_of(winner: Blocks, codes: list[Code], rank: Callable[[Code], tuple[float, ...]]) -> int | None:
    """From 1; None where the winner is not among the candidates."""
    order = [code.blocks for code in sorted(codes, key=rank)]
    return order.index(winner) + 1 if winner in order else None


def compiled(chip: str, shape: Shape, blocks: Blocks, dump: Dump) -> Counts | None:
    """None where the compiler refuses it. Raises RuntimeError for a libtpu that writes no profile."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding
    from tpu_inference.kernels.ragged_paged_attention.v3.kernel_hd64 import get_kv_cache_shape, ragged_paged_attention_hd64

    from tuner.foresight.pretence import REFUSALS, Spec, topology_devices
    from tuner.foresight.pretence import Shape as ArrayShape

    mesh = Mesh(np.array(topology_devices(target_of(chip, 1).topology)[:1]), ("x",))

    def of(*size: int, dtype: Any = jnp.int32) -> Any:
        return ArrayShape(size, dtype, sharding=NamedSharding(mesh, Spec()))

    pages = -(-shape.max_model_len // PAGE)
    heads = [of(TOKENS, count, HEAD, dtype=jnp.bfloat16) for count in (shape.query_heads, shape.kv_heads, shape.kv_heads)]
    cache = of(*get_kv_cache_shape(512, PAGE, shape.kv_heads, HEAD, jnp.bfloat16), dtype=jnp.bfloat16)
    tables = of(REQUESTS), of(REQUESTS * pages), of(REQUESTS + 1), of(3)
    dump.empty()
    with jax.set_mesh(mesh):
        try:
            lowered = ragged_paged_attention_hd64.lower(
                *heads, cache, *tables, num_kv_pages_per_block=blocks.pages, num_queries_per_block=blocks.queries
            )
            lowered.compile()
        except REFUSALS as error:
            print(f"{shape} {blocks}: {str(error)[:200]}", file=sys.stderr)
            return None
    found = {name: counts for name, counts in parse(dump.profiles()).items() if name.startswith("RPA")}
    if not found:
        raise RuntimeError("this libtpu wrote no static bundle profile of the kernel")
    return max(found.values(), key=lambda counts: counts[BUNDLES])


def tuned_table() -> Table:
    from tpu_inference.kernels.ragged_paged_attention.v3.tuned_block_sizes_hd64 import TUNED_BLOCK_SIZES

    return dict(TUNED_BLOCK_SIZES)


def winner_in(table: Table, chip: str, shape: Shape) -> Blocks:
    """Raises KeyError for a shape that the table does not have."""
    heads = f"q_head-{shape.query_heads}_kv_head-{shape.kv_heads}_head-{HEAD}"
    entry = table[DEVICE_NAMES[chip]][PAGE]["q_bfloat16_kv_bfloat16"][heads]
    return Blocks(*entry[f"max_model_len-{shape.max_model_len}-sw-None"])


def rule_hits(table: Table) -> dict[str, tuple[int, int]]:
    """TPU -> (entries without a sliding window whose winner follows the rule, all of these)."""
    found = {}
    for tpu, by_page in table.items():
        hits = []
        for page, by_dtype in by_page.items():
            entries = [entry for by_heads in by_dtype.values() for by_length in by_heads.values() for entry in by_length.items()]
            for name, winner in entries:
                if (length := _WHOLE.fullmatch(name)) is not None:
                    hits.append(tuple(winner) == (min(int(length[1]) // page, 16), 32))
        found[tpu] = sum(hits), len(hits)
    return found


def shapes(text: str) -> list[Shape]:
    return [Shape(*map(int, word.split("/"))) for word in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chip", choices=DEVICE_NAMES, default="v6e")
    parser.add_argument("--shapes", type=shapes, default=shapes("16/2/2048,32/4/4096,64/8/8192"))
    parser.add_argument("--pages", type=numbers, default=[2, 4, 8, 16])
    parser.add_argument("--queries", type=numbers, default=[16, 32, 64, 128])
    parser.add_argument("--rule", action="store_true", help="compile nothing, count how often the rule names the table's winner")
    args = parser.parse_args()
    if args.rule:
        for tpu, (hits, entries) in rule_hits(tuned_table()).items():
            print(f"{tpu}: {hits} of {entries} entries")
        return 0
    places: list[list[str]] = []
    with Dump() as dump:
        os.environ.update(compiling_environment(target_of(args.chip, 1), "/") | dump.environment(os.environ))
        for shape in args.shapes:
            winner, begun = winner_in(tuned_table(), args.chip, shape), time.perf_counter()
            every = [Blocks(*pair) for pair in product(args.pages, args.queries) if pair[0] * PAGE <= shape.max_model_len]
            codes = [Code(blocks, counts) for blocks in every if (counts := compiled(args.chip, shape, blocks, dump)) is not None]
            rows = [_cells(code, winner) for code in sorted(codes, key=RANKINGS["bundles"])]
            print(f"\n{args.chip}, shape {shape}: {len(codes)} candidates in {time.perf_counter() - begun:.0f} s\n")
            print(
                text_table(["pages", "queries", "bundles", "scalar", "matmuls", "spills", "bundles a query and token", ""], rows),
                flush=True,
            )
            found = [place_of(winner, codes, rank) for rank in RANKINGS.values()]
            places.append([str(shape), str(len(codes)), *("-" if place is None else str(place) for place in found)])
    print(f"\nplace of the table's winner (by chance: the middle)\n\n{text_table(['shape', 'candidates', *RANKINGS], places)}")
    return 0


def _cells(code: Code, winner: Blocks) -> list[str]:
    shown = (code.counts[BUNDLES], code.counts.get(SCALAR, 0.0), code.matmuls, code.counts.get(SPILLS, 0.0))
    counts = [number(value, 7) for value in shown]
    mark = "the table's" if code.blocks == winner else ""
    return [str(code.blocks.pages), str(code.blocks.queries), *counts, f"{code.each(BUNDLES):.5f}", mark]


if __name__ == "__main__":
    sys.exit(main())
