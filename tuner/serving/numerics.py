"""Which settings change the numbers that an engine computes with, and so, rightly, what it generates. Pure."""

from __future__ import annotations

import json

from tuner.core.contract import EngineSettings

# Engine arguments of vLLM. Others (page size, parallelism, kernels, scheduling) change the order of the same operations at most.
NUMERIC_ARGS = (
    "kv_cache_dtype",
    "kv_cache_dtype_skip_layers",
    "calculate_kv_scales",
    "mamba_cache_dtype",
    "quantization",
    "hf_overrides",
    "rope_scaling",
    "revision",
)
_QUANTIZATION = "quantization"  # also a key of tpu-inference's additional_config


def numerics_of(engine: EngineSettings) -> str:
    """The same text for engines that have to answer alike: dtype, KV dtype, quantisation, as canonical JSON."""
    given = {key.replace("-", "_"): value for key, value in engine.extra_engine_args.items()}
    found = {name: given[name] for name in NUMERIC_ARGS if given.get(name) not in (None, "auto")}
    additional = given.get("additional_config")
    if isinstance(additional, dict) and additional.get(_QUANTIZATION):
        found["additional_config"] = additional[_QUANTIZATION]
    return json.dumps({"dtype": engine.dtype, **found}, sort_keys=True, separators=(",", ":"))
