"""Features of a model that people know."""

from __future__ import annotations

from typing import Any

QWEN: dict[str, Any] = {
    "layers": 28,
    "hidden_size": 1024,
    "heads": 16,
    "kv_heads": 8,
    "head_size": 128,
    "experts": 0,
    "experts_per_token": 0,
    "attention": "full",
    "dtype": "bfloat16",
    "quantization": None,
}
