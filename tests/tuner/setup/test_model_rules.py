"""Models that the engine here cannot run are refused before it starts, with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.core.contract import EngineSettings
from tuner.setup.model_rules import model_faults

DENSE: dict[str, Any] = {"heads": 32, "attention": "full", "moe": False, "sinks": False}
SETTINGS = EngineSettings("M", "M", block_size=16, max_num_batched_tokens=256, max_num_seqs=8, max_model_len=512)


def _lines(platform: str, features: dict[str, Any], **settings: Any) -> list[str]:
    return [str(fault) for fault in model_faults(SETTINGS.with_changes(**settings), {**DENSE, **features}, platform)]


@pytest.mark.parametrize("platform", ["tpu", "cpu"])
def test_an_ordinary_model_is_not_refused(platform: str) -> None:
    assert _lines(platform, {}) == []


@pytest.mark.parametrize("platform", ["tpu", "cpu"])
def test_latent_attention_is_refused_everywhere(platform: str) -> None:
    (line,) = _lines(platform, {"attention": "mla"})
    assert line.startswith("model: M has multi-head latent attention (MLA)") and "choose a model without it" in line


@pytest.mark.parametrize(("heads", "parallel", "fits"), [(52, 8, 4), (71, 2, 1), (12, 8, 6), (28, 16, 14), (40, 64, 40)])
def test_heads_that_the_devices_do_not_divide(heads: int, parallel: int, fits: int) -> None:
    (line,) = _lines("tpu", {"heads": heads}, tensor_parallel_size=parallel)
    assert line == f"tensor_parallel_size: {parallel} does not divide the {heads} attention heads of M; use {fits}"


@pytest.mark.parametrize(
    ("platform", "words"), [("cpu", "search on a TPU, or choose a dense model"), ("cuda", "here is cuda"), ("tpu", "")]
)
def test_a_mixture_of_experts_needs_a_tpu(platform: str, words: str) -> None:
    lines = _lines(platform, {"moe": True})
    assert len(lines) == bool(words) and all("mixture of experts" in line and words in line for line in lines)


@pytest.mark.parametrize(
    ("platform", "backend", "fix"),
    [
        ("cpu", "auto", "search on a TPU, or choose a model without them"),
        ("cpu", "tuner_xla", "search on a TPU, or choose a model without them"),
        ("tpu", "tuner_xla", "leave attention_backend at auto"),
        ("tpu", "auto", None),
        ("tpu", "rpa", None),
    ],
)
def test_attention_sinks_need_vllms_own_kernel(platform: str, backend: str, fix: str | None) -> None:
    lines = _lines(platform, {"sinks": True}, attention_backend=backend)
    assert [line.rpartition("; ")[2] for line in lines] == ([] if fix is None else [fix])


@pytest.mark.parametrize("dtype", ["fp8", "fp8_e5m2", "fp8_e4m3", "int8"])
@pytest.mark.parametrize(("platform", "backend", "refused"), [("cpu", "auto", True), ("tpu", "tuner_xla", True), ("tpu", "auto", False)])
def test_a_quantised_kv_cache_needs_vllms_own_kernel(dtype: str, platform: str, backend: str, refused: bool) -> None:
    lines = _lines(platform, {}, attention_backend=backend, extra_engine_args={"kv_cache_dtype": dtype})
    assert len(lines) == refused and all(f"engine_args: kv_cache_dtype {dtype} is not supported" in line for line in lines)


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", None])
def test_a_plain_kv_cache_is_fine(dtype: str | None) -> None:
    assert _lines("cpu", {}, extra_engine_args={"kv_cache_dtype": dtype}) == []


@pytest.mark.parametrize(
    ("features", "settings", "words"),
    [
        ({"head_size": 64}, {}, "attention_backend: tuner_rpa cannot write for heads of 64, which M has"),
        ({"sinks": True}, {}, "model: M has attention sinks"),
        ({}, {"kv_write": "loop,loop"}, "kv_write: loop,loop chooses among XLA operations, and tuner_rpa writes by DMA; leave it at auto"),
        ({}, {"extra_engine_args": {"kv_cache_dtype": "int8"}}, "engine_args: kv_cache_dtype int8 is not supported by tuner_rpa"),
    ],
)
def test_what_the_write_before_the_stock_kernel_cannot_do(features: dict[str, Any], settings: dict[str, Any], words: str) -> None:
    (line,) = _lines("tpu", features, attention_backend="tuner_rpa", **settings)
    assert line.startswith(words)


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "fp8", "fp8_e5m2"])
def test_the_write_before_the_stock_kernel_takes_heads_of_128_and_any_floating_point_cache(dtype: str) -> None:
    assert _lines("tpu", {"head_size": 128}, attention_backend="tuner_rpa", extra_engine_args={"kv_cache_dtype": dtype}) == []
