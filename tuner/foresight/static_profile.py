"""The static profile of one step: what each HLO instruction costs, by the compiler's word, and the code that was made of it. Pure.

Nothing here was run. Counts are those of the code as it stands: the body of a loop is counted once, however often it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profiles.classify import CATEGORIES, classify, is_anchor
from profiles.hlo import HloOp, describe
from profiles.hlo_costs import HloCost, costs
from profiles.hlo_sources import source_scopes
from profiles.schema import HloModule, text
from tuner.foresight.bundles import Counts

Json = dict[str, Any]
KERNEL = "custom-call"
_ASYNC = "async-start"  # begins what its name says: slice-start.4
# Classes of tpu-inference's models -> the words that the rules of profiles.classify know.
_WORDS = (
    (re.compile(r"\b\w*(?:MLP|Mlp)\b"), "mlp"),
    (re.compile(r"\b\w*MoE\b"), "moe"),
    (re.compile(r"\bJaxEinsum\b"), "JaxLinear"),
    (re.compile(r"\bJaxEmbed\b"), "embed"),
)


@dataclass(frozen=True)
class Row:
    """One HLO instruction. `hbm_bytes` None: a kernel that states none. `cycles` None: the compiler estimates none, as of kernels.
    `code`: label of tuner.foresight.bundles -> count; empty where libtpu reports no code of its own for it."""

    name: str
    category: str
    opcode: str
    scope: str
    in_loop: bool
    flops: int
    hbm_bytes: int | None
    cycles: int | None
    code: dict[str, float]

    @property
    def kernel(self) -> bool:
        return self.opcode == KERNEL


@dataclass(frozen=True)
class StaticProfile:
    """`tokens`: of the padded step. `frame`: code that belongs to no instruction."""

    tokens: int
    layers: int
    rows: tuple[Row, ...]
    frame: dict[str, float]
    temporary_bytes: int
    code_bytes: int
    dump_bytes: int
    seconds: float

    @property
    def kernels(self) -> list[Row]:
        return [row for row in self.rows if row.kernel and row.code]

    def categories(self) -> dict[str, Json]:
        """Category -> sums, in the order of the XLA profiles' categories; what no row has is left out."""
        return {str(each): total([row for row in self.rows if row.category == each]) for each in CATEGORIES if self._has(each)}

    def _has(self, category: str) -> bool:
        return any(row.category == category for row in self.rows)

    def to_json(self) -> Json:
        return {
            "tokens": self.tokens,
            "layers": self.layers,
            "temporary_bytes": self.temporary_bytes,
            "code_bytes": self.code_bytes,
            "dump_bytes": self.dump_bytes,
            "seconds": self.seconds,
            "categories": self.categories(),
            "frame": self.frame,
            "instructions": [
                {
                    "name": row.name,
                    "category": row.category,
                    "opcode": row.opcode,
                    "scope": row.scope,
                    "in_loop": row.in_loop,
                    "flops": row.flops,
                    "hbm_bytes": row.hbm_bytes,
                    "cycles": row.cycles,
                    "code": row.code,
                }
                for row in self.rows
            ],
        }


def total(rows: Sequence[Row]) -> Json:
    """Sums over rows: instructions, flops, hbm_bytes and cycles (of those that state them), how many state none, and the code."""
    return {
        "instructions": len(rows),
        "flops": sum(row.flops for row in rows),
        "hbm_bytes": sum(row.hbm_bytes or 0 for row in rows),
        "without_bytes": sum(row.hbm_bytes is None for row in rows),
        "cycles": sum(row.cycles or 0 for row in rows),
        "without_cycles": sum(row.cycles is None for row in rows),
        "code": summed(row.code for row in rows),
    }


def summed(codes: Iterable[Mapping[str, float]]) -> Counts:
    found: Counts = {}
    for code in codes:
        for label, count in code.items():
            found[label] = found.get(label, 0.0) + count
    return found


def rows_of(serialised_module: bytes, code: Mapping[str, Counts]) -> tuple[Row, ...]:
    """Of a serialised HloModuleProto. Raises google.protobuf.message.DecodeError where it is none."""
    module = HloModule.FromString(serialised_module)
    found = costs(module)
    ops = describe(module, frozenset(cost.name for cost in found), is_anchor)
    sources, name = source_scopes(module), text(module.name)
    return tuple(_row(cost, _placed(ops[cost.name], sources), name, code.get(cost.name, {})) for cost in found)


def _placed(op: HloOp, sources: Mapping[str, str]) -> HloOp:
    """JAX-native models name no layer in their scopes: the calls of the model that an instruction was written in stand in front."""
    if op.hlo_category == _ASYNC:
        op = replace(op, hlo_category=op.name.partition(".")[0])
    source = sources.get(op.name)
    if source is None or op.hlo_category == KERNEL:
        return op
    for pattern, word in _WORDS:
        source = pattern.sub(word, source)
    return replace(op, scope=f"{source}/{op.scope.rpartition('/')[2]}")


def _row(cost: HloCost, op: HloOp, module: str, code: Counts) -> Row:
    category, _rule = classify(op.scope, op.context, op.hlo_category, module)
    return Row(
        name=cost.name,
        category=str(category),
        opcode=op.hlo_category,
        scope=op.scope,
        in_loop=op.in_loop,
        flops=cost.flops,
        hbm_bytes=cost.hbm_bytes,
        cycles=cost.cycles,
        code=dict(code),
    )
