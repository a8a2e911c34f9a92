"""Block sizes of RPA v3 by what is known without compiling or running: what fits VMEM, and how often a prefill's loops go round. Pure.

Beside tpu-inference's own tuned tables, which were measured: see bench/foresee_blocks.py for how little sizes alone say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MIB = 1 << 20
VMEM_BYTES = {"TPU v5e": 128 * MIB, "TPU v6e": 128 * MIB, "TPU v7": 64 * MIB}  # of a core; jax.experimental.pallas.tpu.get_tpu_info
PAGES = (1, 2, 4, 8, 16, 32)  # of a KV block; these and QUERIES span the tables
QUERIES = (8, 16, 32, 64, 128, 256)
_LANES = 128
_PATH = re.compile(r"(\d+)/q_(\w+?)_kv_(\w+)/q_head-(\d+)_kv_head-(\d+)_head-(\d+)/max_model_len-(\d+)-sw-None")
_BITS = {"bfloat16": 16, "float8_e4m3fn": 8, "float32": 32}


@dataclass(frozen=True)
class Blocks:
    """A KV block of `pages`, and `queries` of a sequence that are attended from at once."""

    pages: int
    queries: int


@dataclass(frozen=True)
class Tuned:
    """An entry of a tuned table: the shape, and the blocks that were fastest when they were measured."""

    tpu: str
    page: int
    query_bits: int
    kv_bits: int
    query_heads: int
    kv_heads: int
    head_size: int
    max_model_len: int
    winner: Blocks


def tuned(rows: Iterable[Mapping[str, str]]) -> list[Tuned]:
    """From rows of tpu, path and value ("pages queries"). Rows of another form are left out."""
    found = []
    for row in rows:
        path = _PATH.fullmatch(row["path"])
        if path is None or row["tpu"] not in VMEM_BYTES or not {path[2], path[3]} <= _BITS.keys():
            continue
        page, query_heads, kv_heads, head_size, length = (int(path[group]) for group in (1, 4, 5, 6, 7))
        pages, queries = map(int, row["value"].split())
        found.append(
            Tuned(
                tpu=row["tpu"],
                page=page,
                query_bits=_BITS[path[2]],
                kv_bits=_BITS[path[3]],
                query_heads=query_heads,
                kv_heads=kv_heads,
                head_size=head_size,
                max_model_len=length,
                winner=Blocks(pages, queries),
            )
        )
    return found


def candidates(shape: Tuned) -> list[Blocks]:
    """Blocks no longer than a sequence that fit VMEM."""
    longest = max(shape.max_model_len, shape.page)
    every = [Blocks(pages, queries) for pages in PAGES for queries in QUERIES if pages * shape.page <= longest]
    return [blocks for blocks in every if vmem_bytes(shape, blocks) <= VMEM_BYTES[shape.tpu]]


def vmem_bytes(shape: Tuned, blocks: Blocks) -> int:
    """Of the kernel's buffers: tpu-inference's get_vmem_estimate_bytes (kernels/ragged_paged_attention/v3/kernel.py), but for the padding
    against bank conflicts."""
    query_packing, kv_packing = 32 // shape.query_bits, 32 // shape.kv_bits
    group = _up(shape.query_heads // shape.kv_heads, query_packing)
    head, rows = _up(shape.head_size, _LANES), shape.kv_heads * blocks.queries * group
    cache = 2 * blocks.pages * shape.page * _up(2 * shape.kv_heads, kv_packing) * head * shape.kv_bits
    return (cache + 4 * rows * head * shape.query_bits + 2 * rows * _LANES * 32 + rows * head * 32) // 8


def trips(shape: Tuned, blocks: Blocks) -> int:
    """Rounds of the kernel's inner loop for one prompt of max_model_len, without what causality spares."""
    return -(-shape.max_model_len // blocks.queries) * -(-shape.max_model_len // (blocks.pages * shape.page))


def by_trips(shape: Tuned) -> list[Blocks]:
    """The fewest rounds first, of equals the one with the smaller buffers."""
    return sorted(candidates(shape), key=lambda blocks: (trips(shape, blocks), vmem_bytes(shape, blocks)))


def by_vmem(shape: Tuned) -> list[Blocks]:
    """The smallest buffers first."""
    return sorted(candidates(shape), key=lambda blocks: vmem_bytes(shape, blocks))


def among_best(shapes: Sequence[Tuned], rankings: Sequence[Sequence[Blocks]], best: int) -> tuple[float, float]:
    """How often the table's winner is among the `best` of a ranking, and how often it would be among as many drawn by chance."""
    hits = [shape.winner in ranking[:best] for shape, ranking in zip(shapes, rankings, strict=True)]
    chance = [min(best / len(ranking), 1.0) if ranking else 0.0 for ranking in rankings]
    return sum(hits) / len(hits), sum(chance) / len(chance)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
