"""Rows and sums of a static profile. (Real modules: test_look.py; costs and origins of instructions: tests/profiles.)"""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError

from profiles.schema import HloModule
from tests.tuner.foresight.small_module import kernel_name, module
from tuner.foresight.static_profile import StaticProfile, rows_of


def test_rows_have_category_costs_and_code() -> None:
    product, kernel = rows_of(module(64), {kernel_name(64): {"bundles": 5.0}})
    assert (product.name, product.category, product.flops, product.cycles, product.code) == ("dot.1", "mlp", 8192, 900, {})
    assert (kernel.category, kernel.hbm_bytes, kernel.cycles, kernel.code, kernel.kernel) == (
        "attention_fused_kv",
        None,
        None,
        {"bundles": 5.0},
        True,
    )


def test_a_class_of_the_model_says_the_category_where_the_scope_does_not() -> None:
    """tpu-inference's JAX-native models: the scope of every product is JaxLinear, whether it is the MLP's or a projection."""
    made = HloModule.FromString(module(64))
    product = made.computations[0].instructions[2]
    product.metadata.op_name = b"jit(run_model_impl)/JaxLinear/mn,np->mp/dot_general"
    found = {}
    for owner in ("Qwen2MLP", "Qwen3Attention"):
        table = made.stack_frame_index
        table.Clear()
        for index, name in enumerate(("Qwen3ForCausalLM.__call__", f"{owner}.__call__", "JaxEinsum.__call__")):
            table.function_names.append(name.encode())
            table.file_locations.add(function_name_id=index + 1)
            table.stack_frames.add(file_location_id=index + 1, parent_frame_id=index)
        product.metadata.stack_frame_id = 3
        found[owner] = rows_of(made.SerializeToString(), {})[0].category
    assert found == {"Qwen2MLP": "mlp", "Qwen3Attention": "projection"}


def test_a_prefetch_is_a_copy() -> None:
    """libtpu reads weights ahead in slices, which no scope names."""
    made = HloModule.FromString(module(64))
    product = made.computations[0].instructions[2]
    product.ClearField("metadata")
    product.name, product.opcode = b"slice-start.4", b"async-start"
    assert rows_of(made.SerializeToString(), {})[0].category == "copy"


def test_sums_say_how_many_state_nothing() -> None:
    profile = StaticProfile(128, 1, rows_of(module(64), {kernel_name(64): {"bundles": 5.0}}), {}, 0, 0, 0, 1.0)
    sums = profile.categories()
    assert list(sums) == ["attention_fused_kv", "mlp"], "in the order of XLA profiles"
    assert sums["attention_fused_kv"]["without_bytes"] == sums["attention_fused_kv"]["without_cycles"] == 1
    assert sums["mlp"] == {
        "instructions": 1,
        "flops": 8192,
        "hbm_bytes": 512 + 2048 + 1024,
        "without_bytes": 0,
        "cycles": 900,
        "without_cycles": 0,
        "code": {},
    }


def test_what_is_no_module_is_an_error() -> None:
    with pytest.raises(DecodeError):
        rows_of(b"\x00no module", {})
