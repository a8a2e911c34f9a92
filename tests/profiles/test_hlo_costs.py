"""Costs of instructions, against XLA's own totals for small programs compiled here, and on modules written by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from profiles.hlo_costs import HloCost, costs
from profiles.schema import HloModule

BF16, F32 = 16, 11
HBM, VMEM = 0, 1


def compiled(function: Any, *shapes: tuple[int, ...]) -> tuple[Any, float]:
    """The module, and XLA's flops of it."""
    device = jax.devices("cpu")[0]
    with jax.default_device(device):
        done: Any = jax.jit(function).lower(*(jnp.zeros(shape) for shape in shapes)).compile()
    (module,) = done.runtime_executable().hlo_modules()
    return HloModule.FromString(module.as_serialized_hlo_module_proto()), done.cost_analysis()["flops"]


def convolution(**how: Any) -> Any:
    return lambda image, kernel: jax.lax.conv_general_dilated(image, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **how)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda a, b: a @ b, [(8, 16), (16, 32)]),
        (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), [(4, 8, 16), (4, 16, 8)]),
        (lambda a, b: jnp.einsum("ij,kj->ik", a, b), [(8, 16), (32, 16)]),
        (convolution(window_strides=(1, 1), padding="SAME"), [(2, 9, 9, 3), (3, 3, 3, 5)]),
        (convolution(window_strides=(2, 2), padding="VALID"), [(2, 9, 9, 3), (3, 3, 3, 5)]),
        (convolution(window_strides=(1, 1), padding=((2, 2), (0, 0)), lhs_dilation=(2, 1), rhs_dilation=(1, 2)),
         [(1, 9, 9, 3), (3, 3, 3, 5)]),
    ],
    ids=["product", "batched", "transposed", "padded convolution", "strides", "dilation"],
)  # fmt: skip
def test_matrix_flops_are_those_of_xla(function: Any, shapes: list[tuple[int, ...]]) -> None:
    module, flops = compiled(function, *shapes)
    assert sum(cost.flops for cost in costs(module)) == flops > 0


@pytest.mark.slow
def test_what_a_loop_runs_is_counted_once_and_the_loop_is_no_row() -> None:
    module, _ = compiled(lambda a, b: jax.lax.fori_loop(0, 5, lambda _, x: jnp.tanh(x @ b), a), (8, 16), (16, 16))
    found = costs(module)
    assert sum(cost.flops for cost in found) == 2 * 8 * 16 * 16
    assert not any(cost.name.startswith("while") for cost in found)


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
