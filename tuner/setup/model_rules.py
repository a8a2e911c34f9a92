"""Which models, and which settings of them, the engine here cannot run, found before it starts. Pure. docs/feasibility.md has the table.

Each of these failed only in the engine, after its start, and trial by trial.
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.core.contract import EngineSettings
from tuner.serving.engine_args import attention_backend_for
from tuner.setup.feasibility import Infeasible
from tuner.setup.model_memory import Features

STOCK_WRITE_ONLY = 64  # head size of tpu_inference 0.32.0, kernels/ragged_paged_attention/v3/kernel_hd64.py: no update_kv_cache
_PLAIN_KV_DTYPES = ("auto", "bfloat16", "float16", "float32", "half", "float")


def model_faults(settings: EngineSettings, features: Features, platform: str) -> Iterator[Infeasible]:
    """All known reasons why no engine of this model starts or answers, whatever the page size. `platform`: "tpu", "cpu" or "cuda"."""
    name, heads, parallel = settings.model, int(features["heads"]), settings.tensor_parallel_size
    backend = attention_backend_for(settings, platform)
    xla, write_then_rpa = backend == "tuner_xla", backend == "tuner_rpa"
    if features.get("attention") == "mla":  # tpu_inference 0.32.0, platforms/tpu_platform.py, check_and_update_config
        reason = f"{name} has multi-head latent attention (MLA), which tpu-inference runs with data-parallel attention only"
        yield Infeasible("model", reason, "choose a model without it: page-aligned scheduling does not support data parallelism")
    if heads % parallel:  # vllm/config/model.py, verify_with_parallel_config
        fits = max(size for size in range(1, parallel) if heads % size == 0)
        yield Infeasible("tensor_parallel_size", f"{parallel} does not divide the {heads} attention heads of {name}", f"use {fits}")
    if features.get("moe") and platform != "tpu":  # its kernels for mixtures of experts are Pallas kernels
        reason = f"{name} is a mixture of experts, which tpu-inference runs on a TPU only; the platform here is {platform}"
        yield Infeasible("model", reason, "search on a TPU, or choose a dense model")
    if write_then_rpa and features.get("head_size") == STOCK_WRITE_ONLY:
        reason = f"tuner_rpa cannot write for heads of {STOCK_WRITE_ONLY}, which {name} has: their stock kernel always writes by itself"
        yield Infeasible("attention_backend", reason, "leave it at auto, or use tuner_xla")
    if write_then_rpa and settings.kv_write != "auto":
        yield Infeasible("kv_write", f"{settings.kv_write} chooses among XLA operations, and tuner_rpa writes by DMA", "leave it at auto")
    if features.get("sinks") and (xla or write_then_rpa):
        fix = "leave attention_backend at auto" if platform == "tpu" else "search on a TPU, or choose a model without them"
        yield Infeasible("model", f"{name} has attention sinks, which our attention backends do not support", fix)
    kv_dtype = str(settings.extra_engine_args.get("kv_cache_dtype") or "auto")
    if write_then_rpa and kv_dtype not in _PLAIN_KV_DTYPES and not kv_dtype.startswith("fp8"):
        fix = "leave kv_cache_dtype at auto or use a floating-point one"
        yield Infeasible("engine_args", f"kv_cache_dtype {kv_dtype} is not supported by tuner_rpa", fix)
    if kv_dtype not in _PLAIN_KV_DTYPES and xla:
        fix = "leave attention_backend at auto, or drop it" if platform == "tpu" else "drop it, or search on a TPU"
        yield Infeasible("engine_args", f"kv_cache_dtype {kv_dtype} is not supported by our XLA attention backend", fix)
