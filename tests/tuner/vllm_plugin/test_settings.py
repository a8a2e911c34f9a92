"""The plugin's settings, and that the CPU accommodations stay out of a TPU process."""

from __future__ import annotations

import pytest

from tests.plugins.programs import Programs
from tuner.vllm_plugin.alignment import Variant
from tuner.vllm_plugin.cpu import runs_without_tpu
from tuner.vllm_plugin.settings import PluginSettings, parse_settings


def test_defaults_are_the_safe_ones() -> None:
    assert parse_settings(None) == parse_settings({"sharding": {}}) == PluginSettings(True, Variant.DEMOTE, None, None)


def test_everything_given() -> None:
    raw = {"tuner": {"page_aligned": False, "variant": "strict", "kv_write": "loop,scatter"}}
    assert parse_settings(raw) == PluginSettings(False, Variant.STRICT, "loop", "scatter")
    assert raw["tuner"]["variant"] == "strict"


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ({"page_wise": True}, "no key 'page_wise'"),
        ({"page_aligned": "yes"}, "page_aligned must be true or false"),
        ({"variant": "lenient"}, "variant must be one of strict, demote, fill_bucket"),
        ({"kv_write": "loop"}, "kv_write must be"),
        ({"kv_write": "loop,magic"}, "kv_write must be"),
        ({"kv_write": 3}, "kv_write must be"),
    ],
)
def test_bad_settings_are_refused_by_name(raw: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_settings({"tuner": raw})


@pytest.mark.parametrize(
    ("platforms", "expected"), [("", False), ("tpu", False), ("tpu,cpu", False), ("proxy", False), ("cpu", True), ("cuda", True)]
)
def test_accommodations_are_only_for_platforms_without_a_tpu(monkeypatch: pytest.MonkeyPatch, platforms: str, expected: bool) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert runs_without_tpu() is expected


@pytest.mark.slow
def test_on_a_tpu_process_nothing_of_tpu_inference_is_replaced_but_the_guard(programs: Programs) -> None:
    """In a process that JAX would give a TPU, register() leaves tpu-inference alone; with JAX_PLATFORMS=cpu it replaces five functions."""
    program = (
        "import os, tpu_inference.utils as u, tpu_inference.models.common.compiler_options as c\n"
        "import tpu_inference.layers.vllm.quantization.unquantized as q, tuner.vllm_plugin as p\n"
        "found = lambda: (u.get_device_hbm_limit, u.general_device_put, q.t2j,\n"
        "    c.get_step_fn_compiler_options, c.get_sampling_compiler_options)\n"
        "before = found()\n"
        "for platforms in ('tpu', 'cpu'):\n"
        "    os.environ['JAX_PLATFORMS'] = platforms\n"
        "    p.register(); p.register()\n"
        "    print('REPLACED', sum(a is not b for a, b in zip(before, found())))\n"
    )
    replaced = [line for line in programs.execute(program).splitlines() if line.startswith("REPLACED")]
    assert replaced == ["REPLACED 0", "REPLACED 5"]
