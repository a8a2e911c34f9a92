"""Engine arguments that a submitted study may set: those of which it is known that no value of them loads code, opens a file or calls
anybody. Every other one of vLLM's two hundred is refused unless the operator names it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tuner.core.factors import UNSET

_WORD = re.compile(r"[a-z0-9][a-z0-9_]{0,39}")
_MOST = 2**31 - 1
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _bytes(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _word(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


type _Check = Callable[[object], bool]
_IN_WORDS: Mapping[_Check, str] = {
    _flag: "true or false",
    _count: f"a whole number up to {_MOST}",
    _bytes: "a whole number",
    _share: "above 0 and at most 1",
    _word: "one word in small letters",
}
HARMLESS: Mapping[str, _Check] = {
    **dict.fromkeys(
        (
            "disable_cascade_attn",
            "disable_chunked_mm_input",
            "disable_hybrid_kv_cache_manager",
            "disable_sliding_window",
            "enable_chunked_prefill",
            "enable_expert_parallel",
            "enforce_eager",
            "language_model_only",
            "scheduler_reserve_full_isl",
        ),
        _flag,
    ),
    **dict.fromkeys(
        (
            "decode_context_parallel_size",
            "long_prefill_token_threshold",
            "max_long_partial_prefills",
            "max_num_partial_prefills",
            "max_num_scheduled_tokens",
            "optimization_level",
            "pipeline_parallel_size",
            "stream_interval",
        ),
        _count,
    ),
    "kv_cache_memory_bytes": _bytes,
    "gpu_memory_utilization": _share,
    **dict.fromkeys(("kv_cache_dtype", "mamba_cache_dtype", "performance_mode", "quantization", "scheduling_policy"), _word),
}


def plain_name(name: str) -> str | None:
    """vLLM's name of the argument; None where it is no way to write one."""
    return name.replace("-", "_") if _NAME.fullmatch(name) else None


def wrong_argument(name: str, value: object, further: frozenset[str]) -> str | None:
    """Why a submission may not set the argument so, None where it may. `further`: what the operator allows beside the harmless ones."""
    plain = plain_name(name)
    if plain in further:
        return None
    if plain is None or plain not in HARMLESS:
        return "is not among the engine arguments that a submission may set"
    check = HARMLESS[plain]
    return None if value == UNSET or check(value) else f"has to be {_IN_WORDS[check]}"
