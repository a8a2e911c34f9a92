"""Costs of instructions, against XLA's own totals for small programs compiled here."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from profiles.hlo_costs import costs
from profiles.schema import HloModule

pytestmark = pytest.mark.slow  # each compiles


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


def test_what_a_loop_runs_is_counted_once_and_the_loop_is_no_row() -> None:
    module, _ = compiled(lambda a, b: jax.lax.fori_loop(0, 5, lambda _, x: jnp.tanh(x @ b), a), (8, 16), (16, 16))
    found = costs(module)
    assert sum(cost.flops for cost in found) == 2 * 8 * 16 * 16
    assert not any(cost.name.startswith("while") for cost in found)
