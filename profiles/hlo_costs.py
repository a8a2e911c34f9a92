"""What each instruction of a compiled module costs, as far as the module says it: matrix flops, HBM bytes, the compiler's cycles. Pure.

Formulas are those of XLA's HloCostAnalysis (xla/service/hlo_cost_analysis.cc) where it has one: a dot is 2 x output x contracted elements,
a convolution counts the window positions that hit no padding, a slice reads what it yields, an update in place moves the update alone.
Costs are static: what is in a loop's body stands once, whatever its trips.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from profiles import schema

_CALLS = frozenset({"while", "conditional", "call"})  # their time is spent in the instructions of other computations
_FREE = frozenset({"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"})
_SLICES = frozenset({"dynamic-slice", "slice", "gather"})
_UPDATE = {"dynamic-update-slice": 1, "scatter": 2}  # the operand that holds what is written
_CYCLES = re.compile(r'"estimated_cycles"\s*:\s*"?(\d+)')
# XLA's PrimitiveType -> bits (xla/xla_data.proto); what is not here (tokens, opaque) has none.
_BITS = {
    **dict.fromkeys((1, 2, 6, 19, 20, 23, 24, 25, 28, 29, 33), 8),
    **dict.fromkeys((3, 7, 10, 16), 16),
    **dict.fromkeys((4, 8, 11), 32),
    **dict.fromkeys((5, 9, 12, 15), 64),
    18: 128,
    **dict.fromkeys((21, 22, 32), 4),
    **dict.fromkeys((26, 27), 2),
}


@dataclass(frozen=True)
class HloCost:
    """One instruction that takes time. `hbm_bytes` None: a custom call that states none; `cycles` None: the compiler gives no estimate."""

    name: str
    flops: int  # of matrix products
    hbm_bytes: int | None
    cycles: int | None


def costs(module: Any) -> list[HloCost]:
    """Of a schema.HloModule: the instructions of the entry and of the loops, branches and calls in it, in the module's order."""
    return list(_Costs(module).all())


class _Costs:
    def __init__(self, module: Any) -> None:
        self._computations = {part.id: part for part in module.computations}
        self._entry = module.entry_computation_id
        self._by_id = {item.id: item for part in module.computations for item in part.instructions}

    def all(self) -> Iterator[HloCost]:
        waiting, seen = [self._entry], {self._entry}
        while waiting:
            part = self._computations.get(waiting.pop(0))
            for item in part.instructions if part is not None else ():
                opcode = schema.text(item.opcode)
                if opcode in _CALLS:
                    waiting += [each for each in item.called_computation_ids if each not in seen]
                    seen.update(item.called_computation_ids)
                elif opcode not in _FREE and not opcode.endswith(("-done", "-update")):  # a -start has the costs of its pair
                    yield self._cost(item, opcode)

    def _cost(self, item: Any, opcode: str) -> HloCost:
        config = schema.text(item.backend_config)
        cycles = _CYCLES.search(config)
        stated = _stated(config) if opcode == "custom-call" else None
        flops = self._flops(item) if stated is None else stated[0]
        moved = stated[1] if stated is not None else None if opcode == "custom-call" else self._bytes(item, opcode)
        return HloCost(schema.text(item.name), flops, moved, None if cycles is None else int(cycles.group(1)))

    def _inside(self, item: Any) -> Iterator[Any]:
        """The instruction and those of what it calls, over all levels."""
        waiting, seen = [item], set()
        while waiting:
            found = waiting.pop()
            yield found
            for called in found.called_computation_ids:
                if called not in seen and called in self._computations:
                    seen.add(called)
                    waiting += self._computations[called].instructions

    def _flops(self, item: Any) -> int:
        return sum(self._product(each) for each in self._inside(item))

    def _product(self, item: Any) -> int:
        opcode = schema.text(item.opcode)
        if opcode not in ("dot", "convolution"):
            return 0
        left = self._by_id[item.operand_ids[0]].shape.dimensions
        if opcode == "dot":
            return 2 * _elements(item.shape) * math.prod(int(left[index]) for index in item.dot.lhs_contracting)
        where, right = item.convolution, self._by_id[item.operand_ids[1]].shape.dimensions
        pairs = [
            _valid_pairs(side, left[source], item.shape.dimensions[target])
            for side, source, target in zip(item.window.dimensions, where.input_spatial, where.output_spatial, strict=True)
        ]
        batch, features = item.shape.dimensions[where.output_batch], item.shape.dimensions[where.output_feature]
        return int(2 * batch * features * right[where.kernel_input_feature] * math.prod(pairs))

    def _bytes(self, item: Any, opcode: str) -> int:
        body = next((self._computations[each] for each in item.called_computation_ids if each in self._computations), None)
        read = sum(self._read(item, opcode, body, index) for index in range(len(item.operand_ids)))
        return read + self._written(item, opcode, body)

    def _read(self, item: Any, opcode: str, body: Any, index: int) -> int:
        shape = self._by_id[item.operand_ids[index]].shape
        if not _in_hbm(shape):
            return 0
        if body is None:
            users = [(item, opcode)] if index == 0 else []
            number = item.operand_ids[index]
        else:
            number = next((each.id for each in body.instructions if each.opcode == b"parameter" and each.parameter_number == index), None)
            users = [(each, schema.text(each.opcode)) for each in body.instructions if number in each.operand_ids]
        partial = [self._part(user, kind, number) for user, kind in users]
        sizes = [size for size in partial if size is not None]
        return _size(shape) if not users or len(sizes) < len(partial) else min(_size(shape), sum(sizes))

    @staticmethod
    def _part(user: Any, opcode: str, number: Any) -> int | None:
        """Bytes of this operand that the user reads; None: all of it."""
        if not user.operand_ids or user.operand_ids[0] != number:
            return None
        return _size(user.shape) if opcode in _SLICES else 0 if opcode in _UPDATE else None

    def _written(self, item: Any, opcode: str, body: Any) -> int:
        root = item
        if body is not None and opcode == "fusion" and body.instructions:
            root = self._by_id.get(body.root_id, body.instructions[-1])
        kind = schema.text(root.opcode)
        if kind in _UPDATE and _in_hbm(item.shape) and len(root.operand_ids) > _UPDATE[kind]:
            return _size(self._by_id[root.operand_ids[_UPDATE[kind]]].shape)
        parts = item.shape.tuple_shapes
        if opcode.endswith("-start") and parts:  # (result, source, context) of a copy; ((operands), result, context) of others
            return _hbm_size(parts[0] if opcode == "copy-start" or len(parts) == 1 else parts[1])
        return _hbm_size(item.shape)


def _valid_pairs(side: Any, inputs: int, outputs: int) -> int:
    """Pairs of an output and a window position that meet an element of the input, along one spatial dimension."""
    stride, window_dilation, base_dilation = max(side.stride, 1), max(side.window_dilation, 1), max(side.base_dilation, 1)
    at = np.arange(outputs)[:, None] * stride - side.padding_low + np.arange(side.size)[None, :] * window_dilation
    return int(np.count_nonzero((at >= 0) & (at % base_dilation == 0) & (at // base_dilation < inputs)))


def _stated(config: str) -> tuple[int, int] | None:
    """Flops and bytes that a kernel's author gives (Pallas' CostEstimate)."""
    try:
        found = json.loads(config)["custom_call_config"]["cost_estimate"]
        return int(found.get("flops", 0)), int(found["bytes_accessed"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _in_hbm(shape: Any) -> bool:
    return bool(shape.layout.memory_space == 0)


def _hbm_size(shape: Any) -> int:
    """Bytes in HBM, over the parts of a tuple."""
    return sum(map(_hbm_size, shape.tuple_shapes)) if shape.tuple_shapes else _size(shape) if _in_hbm(shape) else 0


def _size(shape: Any) -> int:
    return _elements(shape) * _BITS.get(int(shape.element_type), 0) // 8


def _elements(shape: Any) -> int:
    return math.prod(map(int, shape.dimensions))
