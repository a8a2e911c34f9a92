"""How much memory a model needs on one device, as a lower bound: weights, and one KV page. Pure.

A lower bound, because settings that need more than the device has are never tried: norms beyond the two of a layer, biases, vision
towers, shared experts, padding and every activation are left out. Where the features do not say enough (multi-head latent attention,
state-space layers, quantised weights, a configuration without `intermediate_size`) there is no number rather than a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LANES = 128  # a TPU's head dimension is a multiple of this
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "half": 2, "float": 4, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}

type Features = Mapping[str, Any]  # tuner.setup.models.ResolvedModel.features


def dtype_bytes(dtype: str) -> int | None:
    """Bytes of one number; None for a type that is not known here."""
    return _BYTES.get(dtype.lower().removeprefix("torch."))


def served_dtype(asked: str, features: Features) -> str:
    """What "auto" becomes: the model's own type, but bfloat16 for float32 models (vLLM 0.32.0, config/model.py `_resolve_auto_dtype`)."""
    if asked != "auto":
        return asked
    own = str(features.get("dtype", "auto")).removeprefix("torch.")
    return "bfloat16" if own in ("auto", "float32") else own


def parameter_count(features: Features) -> int | None:
    """Parameters of a decoder with full or sliding attention, counted from below; None where the features do not say enough.

    Per layer: query and output projections 2 x hidden x heads x head_size, key and value 2 x hidden x kv_heads x head_size, feed-forward
    (3 matrices if gated, else 2) x hidden x intermediate, two norms; experts times their feed-forward and a router; embeddings once if
    tied, else twice.
    """
    if features.get("quantization") or features.get("attention") not in ("full", "sliding") or not features.get("intermediate_size"):
        return None
    hidden, layers, head_size = int(features["hidden_size"]), int(features["layers"]), int(features["head_size"])
    attention = 2 * hidden * head_size * (int(features["heads"]) + int(features["kv_heads"]))
    matrices = 3 if features["gated_mlp"] else 2
    dense = matrices * hidden * int(features["intermediate_size"])
    experts, expert_layers = int(features["experts"]), int(features["expert_layers"])
    expert_width = int(features["expert_intermediate_size"] or features["intermediate_size"])
    sparse = experts * matrices * hidden * expert_width + hidden * experts
    embeddings = int(features["vocab_size"]) * hidden * (1 if features["tied_embeddings"] else 2)
    return embeddings + hidden + layers * (attention + 2 * hidden) + (layers - expert_layers) * dense + expert_layers * sparse


def weight_bytes(features: Features, dtype: str, tensor_parallel_size: int) -> int | None:
    """Bytes of the weights on one device, as if all were split evenly; None where they are not known."""
    parameters, size = parameter_count(features), dtype_bytes(dtype)
    if parameters is None or size is None:
        return None
    return parameters * size // tensor_parallel_size


def kv_page_bytes(features: Features, kv_dtype: str, block_size: int, tensor_parallel_size: int) -> int | None:
    """Bytes of one page of `block_size` tokens on one device, over all layers; None where the cache has another form.

    Source: tpu_inference 0.32.0: a head is padded to 128 lanes, except that of size 64, whose key and value share them
    (`utils.get_padded_head_dim`, kernel_hd64.get_kv_cache_shape); fewer KV heads than devices are repeated (`get_padded_num_heads`).
    """
    size = dtype_bytes(kv_dtype)
    if size is None or features.get("attention") != "full":
        return None
    head_size, kv_heads = int(features["head_size"]), int(features["kv_heads"])
    lanes = head_size if head_size == LANES // 2 else -(-head_size // LANES) * LANES
    heads_here = max(kv_heads, tensor_parallel_size) // tensor_parallel_size
    return 2 * int(features["layers"]) * heads_here * lanes * size * block_size
