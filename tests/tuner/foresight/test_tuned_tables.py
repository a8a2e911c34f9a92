"""tpu-inference's tuned tables, read without importing it."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.foresight.tuned_blocks import Blocks, Tuned
from tuner.foresight.tuned_tables import entries_of, entry_for, installed_entries

TABLE = """
import jax
TUNED_BLOCK_SIZES = {
    "TPU v6e": {128: {"q_bfloat16_kv_bfloat16": {
        "q_head-32_kv_head-8_head-128": {"max_model_len-2048-sw-None": (16, 32), "max_model_len-8192-sw-None": (16, 64)},
        "q_head-32_kv_head-8_head-256": {"max_model_len-2048-sw-512": (4, 8)},
    }}},
    "TPU v1": {128: {"q_bfloat16_kv_bfloat16": {"q_head-32_kv_head-8_head-128": {"max_model_len-2048-sw-None": (1, 1)}}}},
}
raise RuntimeError("nobody runs this")
"""
ASKED = Tuned("TPU v6e", 128, 16, 16, 32, 8, 128, 2048, Blocks(0, 0))


@pytest.fixture
def entries(tmp_path: Path) -> list[Tuned]:
    file = tmp_path / "table.py"
    file.write_text(TABLE)
    return entries_of(file)


def test_a_table_is_read_and_not_run(entries: list[Tuned]) -> None:
    assert [(entry.max_model_len, entry.winner) for entry in entries] == [(2048, Blocks(16, 32)), (8192, Blocks(16, 64))]


@pytest.mark.parametrize("text", ["", "TUNED_BLOCK_SIZES = 3", "TUNED_BLOCK_SIZES = {'a': open}", "this is no Python", "OTHER = {}"])
def test_a_table_of_another_form_has_no_entries(tmp_path: Path, text: str) -> None:
    file = tmp_path / "table.py"
    file.write_text(text)
    assert entries_of(file) == [] == entries_of(tmp_path / "absent.py") == entries_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "winner"),
    [
        ({}, Blocks(16, 32)),
        ({"max_model_len": 1000}, Blocks(16, 32)),
        ({"max_model_len": 2049}, Blocks(16, 64)),
        ({"max_model_len": 40960}, Blocks(16, 64)),  # none is that long: the longest
        ({"query_heads": 28, "kv_heads": 7}, Blocks(16, 32)),  # rounded up as tpu-inference does
        ({"head_size": 80}, Blocks(16, 32)),
        ({"head_size": 64}, None),
        ({"page": 256}, None),
        ({"kv_bits": 8}, None),
        ({"tpu": "TPU v7"}, None),
    ],
)
def test_the_entry_of_a_shape_is_that_of_its_rounded_heads_and_length(
    entries: list[Tuned], changes: dict[str, int], winner: Blocks | None
) -> None:
    found = entry_for(entries, replace(ASKED, **changes))  # type: ignore[arg-type]  # a number or a name
    assert (None if found is None else found.winner) == winner


@pytest.mark.slow
def test_the_installed_tables_are_read() -> None:
    if importlib.util.find_spec("tpu_inference") is None:
        pytest.skip("tpu-inference is not installed (extra: tpu)")
    found = installed_entries()
    assert {entry.tpu for entry in found} == {"TPU v5e", "TPU v6e", "TPU v7"} and {64, 128} <= {entry.head_size for entry in found}
