"""The plugin's own settings: vLLM's `--additional-config '{"tuner": {...}}'`. Unknown keys and values are refused with one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.vllm_plugin.alignment import Variant

IMPLEMENTATIONS = ("scatter", "loop")


@dataclass(frozen=True)
class PluginSettings:
    """`page_aligned`: align prefill (only under PageAlignedScheduler). `token_implementation` and `page_implementation`: how the XLA
    backend writes the KV cache by token and by page; None = measured on the device (calibrate.py)."""

    page_aligned: bool = True
    variant: Variant = Variant.DEMOTE
    token_implementation: str | None = None
    page_implementation: str | None = None


def parse_settings(additional_config: Mapping[str, Any] | None) -> PluginSettings:
    """Read the "tuner" part of vLLM's additional_config. Raises ValueError naming the key."""
    raw = dict((additional_config or {}).get("tuner") or {})
    page_aligned = raw.pop("page_aligned", True)
    if not isinstance(page_aligned, bool):
        raise ValueError(f"additional_config tuner.page_aligned must be true or false, got {page_aligned!r}")
    variant = raw.pop("variant", Variant.DEMOTE.value)
    if variant not in set(Variant):
        raise ValueError(f"additional_config tuner.variant must be one of {', '.join(Variant)}, got {variant!r}")
    token_implementation, page_implementation = _implementations(raw.pop("kv_write", "auto"))
    if raw:
        raise ValueError(f"additional_config tuner has no key {min(raw)!r}; known: page_aligned, variant, kv_write")
    return PluginSettings(page_aligned, Variant(variant), token_implementation, page_implementation)


def _implementations(text: Any) -> tuple[str | None, str | None]:
    if text == "auto":
        return None, None
    parts = text.split(",") if isinstance(text, str) else []
    if len(parts) != 2 or any(part not in IMPLEMENTATIONS for part in parts):
        raise ValueError(f'additional_config tuner.kv_write must be auto or "<by token>,<by page>", each scatter or loop, got {text!r}')
    return parts[0], parts[1]
