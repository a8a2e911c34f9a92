"""Which further engine arguments of vLLM a search does not take, whoever gives them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.base import InvalidRecord
from storage.secrets import holds_secret
from storage.values import plain
from tuner.core.contract import SETTINGS
from tuner.core.errors import BadInput

# Engine arguments that the search itself sets -> the setting that does it.
MANAGED_ENGINE_ARGS = {
    setting.vllm: setting.study for setting in SETTINGS.values() if setting.vllm is not None and setting.study is not None
}
_UNSUPPORTED_ENGINE_ARGS = {
    "speculative_config": "speculative decoding",
    "kv_transfer_config": "KV connectors",
    "kv_connector": "KV connectors",
    "ec_transfer_config": "KV connectors",
}


def check_engine_args(engine_args: Mapping[str, Any]) -> None:
    """Refuses arguments that cannot be stored, that the search sets itself or that page-aligned scheduling does not support. Raises
    BadInput."""
    for key, value in engine_args.items():
        try:
            plain(value, key)
        except InvalidRecord as error:  # YAML has dates, sets and .nan
            raise _bad_engine_arg(str(error), "write text in quotes, or a value that JSON has") from error
        name = key.replace("-", "_")
        if holds_secret(name, value):
            variable = "HF_TOKEN" if "hf" in name or "hub" in name else "one that vLLM or its library reads"
            raise _bad_engine_arg(
                f"{key} holds a secret, which would be stored and shown", f"set it as an environment variable ({variable})"
            )
        if name in MANAGED_ENGINE_ARGS:
            raise _bad_engine_arg(f"{key} is set by the search", f"use the setting {MANAGED_ENGINE_ARGS[name]} instead")
        if name in _UNSUPPORTED_ENGINE_ARGS and value:
            raise _bad_engine_arg(f"{key} ({_UNSUPPORTED_ENGINE_ARGS[name]}) is not supported with page-aligned scheduling", "remove it")
        if name.startswith("data_parallel_size") and value not in (None, 1):
            raise _bad_engine_arg(f"{key} {value} (data parallelism) is not supported with page-aligned scheduling", "use 1 or remove it")
    if _dp_attention(engine_args):
        raise _bad_engine_arg("additional_config enable_dp_attention (data parallelism) is not supported", "remove it")


def _bad_engine_arg(reason: str, fix: str) -> BadInput:
    return BadInput(reason, setting="engine_args", fix=fix)


def _dp_attention(engine_args: Mapping[str, Any]) -> bool:
    found: Any = engine_args.get("additional_config", {})
    for key in ("sharding", "sharding_strategy", "enable_dp_attention"):
        found = found.get(key, {}) if isinstance(found, dict) else {}
    return bool(found)
