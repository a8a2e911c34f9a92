"""Where in the model an instruction was written, on a module that JAX made here."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from profiles.hlo_sources import source_scopes
from profiles.schema import HloModule

pytestmark = pytest.mark.slow  # it compiles


class InnerMLP:
    def __call__(self, x: Any) -> Any:
        return jnp.tanh(x @ jnp.ones((16, 16)))


class OuterForCausalLM:
    def __call__(self, x: Any) -> Any:
        return InnerMLP()(x)


def test_a_product_is_its_layers_and_what_stands_above_the_model_is_left_out() -> None:
    done: Any = jax.jit(OuterForCausalLM()).lower(jnp.zeros((8, 16))).compile()
    (module,) = done.runtime_executable().hlo_modules()
    found = source_scopes(HloModule.FromString(module.as_serialized_hlo_module_proto()))
    assert "InnerMLP" in set(found.values())
    assert not any("OuterForCausalLM" in path or "test_" in path for path in found.values())
