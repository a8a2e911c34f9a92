"""Costs of instructions, on modules written by hand."""

from __future__ import annotations

from typing import Any

from profiles.hlo_costs import HloCost, costs
from profiles.schema import HloModule

BF16, F32 = 16, 11
HBM, VMEM = 0, 1


class Written:
    """A module with one entry, written by hand."""

    def __init__(self) -> None:
        self.module = HloModule(name=b"m", entry_computation_id=1)
        self.entry = self.module.computations.add(name=b"main", id=1)

    def add(self, name: str, opcode: str, shape: tuple[int, ...], operands: tuple[int, ...] = (), **how: Any) -> int:
        part = how.get("part", self.entry)
        number = sum(len(each.instructions) for each in self.module.computations) + 1
        item = part.instructions.add(name=name.encode(), opcode=opcode.encode(), id=number)
        item.shape.element_type = how.get("kind", F32)
        item.shape.dimensions.extend(shape)
        item.shape.layout.memory_space = how.get("space", HBM)
        item.operand_ids.extend(operands)
        item.called_computation_ids.extend(how.get("calls", ()))
        item.parameter_number = how.get("number", 0)
        item.backend_config = how.get("config", "").encode()
        return int(item.id)

    def costs(self) -> dict[str, HloCost]:
        return {cost.name: cost for cost in costs(self.module)}


def test_only_what_lies_in_hbm_is_moved() -> None:
    made = Written()
    near, far = made.add("near", "parameter", (64,), space=VMEM), made.add("far", "parameter", (64,), kind=BF16)
    made.add("sum", "add", (64,), (near, far), space=VMEM)
    made.add("out", "add", (64,), (near, far))
    assert {name: cost.hbm_bytes for name, cost in made.costs().items()} == {"sum": 128, "out": 128 + 256}


def test_a_slice_of_the_cache_is_not_the_cache() -> None:
    """A fused read of one page of a KV cache of gigabytes."""
    made = Written()
    inside = made.module.computations.add(name=b"fused", id=2)
    parameter = made.add("p", "parameter", (1000, 16), part=inside)
    cut = made.add("cut", "dynamic-slice", (1, 16), (parameter,), part=inside)
    inside.root_id = made.add("twice", "multiply", (1, 16), (cut, cut), part=inside)
    cache = made.add("cache", "parameter", (1000, 16))
    made.add("fusion", "fusion", (1, 16), (cache,), calls=(2,))
    made.add("plain", "dynamic-slice", (1, 16), (cache,))
    assert [cost.hbm_bytes for cost in made.costs().values()] == [128, 128]


def test_a_write_in_place_moves_what_is_written() -> None:
    made = Written()
    inside = made.module.computations.add(name=b"fused", id=2)
    whole = made.add("p0", "parameter", (1000, 16), part=inside)
    new = made.add("p1", "parameter", (1, 16), part=inside, number=1)
    inside.root_id = made.add("put", "dynamic-update-slice", (1000, 16), (whole, new), part=inside)
    cache, row = made.add("cache", "parameter", (1000, 16)), made.add("row", "parameter", (1, 16))
    made.add("fusion", "fusion", (1000, 16), (cache, row), calls=(2,))
    made.add("plain", "dynamic-update-slice", (1000, 16), (cache, row))
    assert [cost.hbm_bytes for cost in made.costs().values()] == [128, 128]


def test_a_kernel_has_the_bytes_that_its_author_states_or_none() -> None:
    made = Written()
    cache = made.add("cache", "parameter", (1000, 16))
    made.add("silent", "custom-call", (8,), (cache,), config='{"custom_call_config": {"body": "abc"}}')
    stated = '{"custom_call_config": {"cost_estimate": {"flops": 7, "bytes_accessed": "99"}}}'
    made.add("stated", "custom-call", (8,), (cache,), config=stated)
    found = made.costs()
    assert (found["silent"].hbm_bytes, found["stated"].hbm_bytes, found["stated"].flops) == (None, 99, 7)


def test_cycles_are_the_compilers_or_none() -> None:
    made = Written()
    row = made.add("row", "parameter", (16,))
    made.add("known", "fusion", (16,), (row,), config='{"window_config": {}, "estimated_cycles": "1234"}')
    made.add("unknown", "copy", (16,), (row,))
    assert {name: cost.cycles for name, cost in made.costs().items()} == {"known": 1234, "unknown": None}


def test_the_two_halves_of_a_copy_count_once() -> None:
    made = Written()
    row = made.add("row", "parameter", (16,))
    begun = made.add("copy-start.1", "copy-start", (), (row,))
    shape = made.entry.instructions[-1].shape
    for space in (VMEM, HBM, HBM):
        part = shape.tuple_shapes.add(element_type=F32)
        part.dimensions.append(16)
        part.layout.memory_space = space
    made.add("copy-done.1", "copy-done", (16,), (begun,), space=VMEM)
    assert [(cost.name, cost.hbm_bytes) for cost in made.costs().values()] == [("copy-start.1", 64)]
