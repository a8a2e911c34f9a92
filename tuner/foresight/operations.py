"""What the operations of a model's step have to do: flops, bytes, tokens. Pure.

An operation's *kind* is what it is called in the model ("gate_proj"); its *family* says which kinds may stand in for one that was never
measured, and by which form (tuner.foresight.curve) its time follows from its terms.

| family | terms |
|---|---|
| matmul | flops 2 x tokens x in x out; bytes of weights, inputs and outputs |
| elementwise | 1; bytes read and written |
| gather | 1; tokens |
| prefill_attention | 1; chunk; context; chunk x context; chunk^2 (one segment; context: tokens of the KV cache before the chunk) |
| decode_attention | 1; requests; their tokens in the KV cache (all decoding requests of a step together) |

The terms of attention count heads in units of one model's (32 query and 8 KV heads of 128): work on queries by query heads, reading the
cache by KV heads. That the times scale with them is an assumption, since the only table that there is has one shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.errors import BadInput
from tuner.foresight.curve import LINEAR, ROOFLINE
from tuner.setup.model_memory import dtype_bytes

MATMUL, ELEMENTWISE, GATHER, PREFILL, DECODE = "matmul", "elementwise", "gather", "prefill_attention", "decode_attention"
STEP = "step"  # a whole one, as engines are measured (tuner.foresight.engine_windows)
_UNIT_HEADS = (32, 8, 128)
LOGITS = "lm_head"  # the one product whose tokens are the requests of the step
FORM_OF = {MATMUL: ROOFLINE, ELEMENTWISE: LINEAR, GATHER: LINEAR, PREFILL: LINEAR, DECODE: LINEAR, STEP: LINEAR}


@dataclass(frozen=True)
class Operation:
    """`times`: how often a step does it. `shape`: what distinguishes operations of one kind in different models."""

    kind: str
    family: str
    shape: tuple[int, ...]
    terms: tuple[float, ...]
    times: int = 1


def matmul(kind: str, tokens: int, width_in: int, width_out: int, size: int = 2, times: int = 1) -> Operation:
    """`size`: bytes of a number."""
    flops = 2.0 * tokens * width_in * width_out
    moved = float(size) * (width_in * width_out + tokens * (width_in + width_out))
    return Operation(kind, MATMUL, (width_in, width_out), (flops, moved), times)


def elementwise(kind: str, tokens: int, width: int, size: int = 2, times: int = 1) -> Operation:
    return Operation(kind, ELEMENTWISE, (width,), (1.0, 2.0 * size * tokens * width), times)


def gather(kind: str, tokens: int, width: int) -> Operation:
    return Operation(kind, GATHER, (width,), (1.0, float(tokens)))


def prefill(heads: tuple[int, int, int], chunk: int, context: int, times: int = 1) -> Operation:
    """`heads`: query heads, KV heads, head size. `context`: tokens of the request that were computed before."""
    queries, keys = _relative(heads)
    terms = (1.0, chunk * queries, context * keys, float(chunk) * context * queries, float(chunk) ** 2 * queries)
    return Operation(PREFILL, PREFILL, heads, terms, times)


def decode(heads: tuple[int, int, int], requests: int, context: int, times: int = 1) -> Operation:
    """`context`: tokens in the KV cache, summed over the requests."""
    _, keys = _relative(heads)
    return Operation(DECODE, DECODE, heads, (1.0, requests * keys, context * keys), times)


def _relative(heads: tuple[int, int, int]) -> tuple[float, float]:
    queries, keys, size = heads
    return queries * size / (_UNIT_HEADS[0] * _UNIT_HEADS[2]), keys * size / (_UNIT_HEADS[1] * _UNIT_HEADS[2])


@dataclass(frozen=True)
class StepWork:
    """What one engine step computes. `prefills`: (chunk, context) of each prefill segment; `decode_context`: summed over decodes."""

    padded_tokens: int
    prefills: tuple[tuple[int, int], ...] = ()
    decodes: int = 0
    decode_context: int = 0

    @property
    def requests(self) -> int:
        return len(self.prefills) + self.decodes


def check_predictable(features: Mapping[str, Any]) -> None:
    """Raises BadInput for models whose step is not made of the operations here."""
    reason = (
        "is a mixture of experts"
        if features.get("experts")
        else f"has {features.get('attention')} attention"
        if features.get("attention") != "full"
        else "has quantised weights"
        if features.get("quantization")
        else "names no intermediate_size"
        if not features.get("intermediate_size")
        else None
    )
    if reason is not None:
        raise BadInput(f"the model {reason}: no prediction of its step time; give the costs yourself with --step-time FILE")


def operations_of(features: Mapping[str, Any], work: StepWork, *, dtype: str = "bfloat16", devices: int = 1) -> Sequence[Operation]:
    """Of one step on one device. `devices`: of tensor parallelism, by which every matrix and the heads are divided; its collectives are not
    among them. `features`: tuner.setup.models.ResolvedModel.features, of a model that check_predictable lets pass."""
    layers, hidden, size = int(features["layers"]), int(features["hidden_size"]), dtype_bytes(dtype) or 2
    head, tokens = int(features["head_size"]), work.padded_tokens
    queries, keys = int(features["heads"]) // devices, max(1, int(features["kv_heads"]) // devices)
    inner = int(features["intermediate_size"]) // devices
    heads = (queries, keys, head)
    found = [
        gather("embedding", tokens, hidden),
        elementwise("input_layernorm", tokens, hidden, size, layers),
        matmul("q_proj", tokens, hidden, queries * head, size, layers),
        matmul("k_proj", tokens, hidden, keys * head, size, layers),
        matmul("v_proj", tokens, hidden, keys * head, size, layers),
        elementwise("rope", tokens, (queries + keys) * head, size, layers),
        matmul("o_proj", tokens, queries * head, hidden, size, layers),
        elementwise("post_layernorm", tokens, hidden, size, layers),
        *([matmul("gate_proj", tokens, hidden, inner, size, layers)] if features.get("gated_mlp") else []),
        matmul("up_proj", tokens, hidden, inner, size, layers),
        matmul("down_proj", tokens, inner, hidden, size, layers),
        elementwise("final_layernorm", tokens, hidden, size),
        matmul(LOGITS, max(1, work.requests), hidden, int(features["vocab_size"]) // devices, size),
    ]
    found += [prefill(heads, chunk, context, layers) for chunk, context in work.prefills]
    if work.decodes:
        found.append(decode(heads, work.decodes, work.decode_context, layers))
    return found
