"""How far apart two models and two workloads are, feature by feature. Pure.

Sizes are compared on a log scale: what doubles is one doubling away, whether it is 16 heads or 4096 tokens. Each feature has a scale, the
difference at which it counts 1; the distance is the Euclidean norm of the parts, and evidence is carried over up to NEAR = 1. So one
feature may differ by its whole scale, or several by less. The scales are judgement, not measurement: about one step in a model family.
- Layers, hidden size, heads, KV heads: one doubling. Head size: half of one, since it sets the page's bytes and the kernel's shape.
- Experts: two doublings, active experts: one. Dense is never near mixture-of-experts, full attention never near sliding or latent.
- Input and output lengths: one doubling each, shared by p50 and p99. Rate or concurrency: one doubling; a closed loop is never near an
  open one. `prefix_share`: 0.25. Another dtype counts 0.5, another quantization 0.75.
- What one side does not say counts as if it were half a scale away; without the sizes that decide (REQUIRED), nothing is near.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.errors import BadInput

NEAR = 1.0
UNKNOWN = 0.5  # of a scale

type Features = Mapping[str, Any]

_HALF_OF_A_PAIR = math.sqrt(2)  # two quantiles that both double are one doubling
_DOUBLINGS = {
    "layers": 1.0,
    "hidden_size": 1.0,
    "heads": 1.0,
    "kv_heads": 1.0,
    "head_size": 0.5,
    "experts": 2.0,
    "experts_per_token": 1.0,
    "input_p50": _HALF_OF_A_PAIR,
    "input_p99": _HALF_OF_A_PAIR,
    "output_p50": _HALF_OF_A_PAIR,
    "output_p99": _HALF_OF_A_PAIR,
    "request_rate": 1.0,
    "max_concurrency": 1.0,
}
_DIFFERENCES = {"prefix_share": 0.25}
_WORDS = {"attention": math.inf, "dtype": 0.5, "quantization": 0.75}
_UNSAID_WORDS = {"dtype": ("auto",)}

MODEL_REQUIRED = ("layers", "hidden_size", "heads", "kv_heads", "head_size")
MODEL_FEATURES = (*MODEL_REQUIRED, "attention", "dtype", "quantization", "experts", "experts_per_token")
WORKLOAD_REQUIRED = ("input_p50", "output_p50")
WORKLOAD_FEATURES = (*WORKLOAD_REQUIRED, "input_p99", "output_p99", "prefix_share", "request_rate", "max_concurrency")
LOADS = ("request_rate", "max_concurrency")
_MAY_BE_ZERO = ("experts", "experts_per_token")


@dataclass(frozen=True)
class Part:
    """One feature: both values as given (None: not said) and its part of the distance, in scales."""

    asked: Any
    measured: Any
    distance: float


def norm(parts: Mapping[str, Part]) -> float:
    """The distance; 0 for no parts, infinity where one feature rules it out."""
    return math.hypot(*(part.distance for part in parts.values()))


def model_parts(asked: Features, measured: Features) -> dict[str, Part]:
    """Of the features of tuner.setup.models, feature -> part. Symmetric, and all 0 for a fully described model and itself."""
    parts = {}
    for name in MODEL_FEATURES:
        if name == "experts_per_token" and not (asked.get("experts") or measured.get("experts")):
            continue  # both dense
        parts[name] = _part(name, asked, measured, name in MODEL_REQUIRED)
    return parts


def model_features(described: Features) -> dict[str, Any]:
    """Of what tuner.setup.models says about a model, the part that counts here."""
    return {name: described[name] for name in MODEL_FEATURES if name in described}


def workload_parts(asked: Features, measured: Features) -> dict[str, Part]:
    """Of the features of `workload_features`, feature -> part."""
    parts = {name: _part(name, asked, measured, name in WORKLOAD_REQUIRED) for name in WORKLOAD_FEATURES if name not in LOADS}
    loads = {name: Part(asked.get(name), measured.get(name), UNKNOWN) for name in LOADS}
    both = [name for name in LOADS if asked.get(name) is not None and measured.get(name) is not None]
    said = [any(side.get(name) is not None for name in LOADS) for side in (asked, measured)]
    if both:
        parts[both[0]] = _part(both[0], asked, measured, required=True)
    else:
        name = next((name for name in LOADS if loads[name].asked is not None or loads[name].measured is not None), "max_concurrency")
        parts[name] = Part(asked.get(name), measured.get(name), math.inf if all(said) else UNKNOWN)
    return parts


def workload_features(summary: Features) -> dict[str, Any]:
    """From a stored workload's summary (tuner.workload.features): lengths in tokens, rate in requests/s, fraction of prompt tokens."""
    inputs, outputs = summary.get("input_quantiles") or {}, summary.get("output_quantiles") or {}
    found = {
        "input_p50": inputs.get("p50"),
        "input_p99": inputs.get("p99"),
        "output_p50": outputs.get("p50"),
        "output_p99": outputs.get("p99"),
        "prefix_share": summary.get("prefix_share"),
        "request_rate": summary.get("offered_rate"),
        "max_concurrency": summary.get("max_concurrency"),
    }
    return {name: value for name, value in found.items() if value is not None}


def checked_features(given: Features, known: tuple[str, ...], what: str) -> dict[str, Any]:
    """Features that somebody typed. Raises BadInput naming the first that is unknown or impossible; None is as good as absent."""
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise BadInput(f"{what} feature {name!r} is unknown; use {', '.join(known)}")
        if value is None:
            continue
        if name in _WORDS:
            if not isinstance(value, str):
                raise BadInput(f"{what} feature {name} must be a word, got {value!r}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadInput(f"{what} feature {name} must be a finite number, got {value!r}")
        elif name in _DIFFERENCES and not 0 <= value <= 1:
            raise BadInput(f"{what} feature {name} must lie between 0 and 1, got {value!r}")
        elif name in _DOUBLINGS and (value < 0 or (value == 0 and name not in _MAY_BE_ZERO)):
            raise BadInput(f"{what} feature {name} must be above 0, got {value!r}")
        checked[name] = value
    return checked


def _part(name: str, asked: Features, measured: Features, required: bool) -> Part:
    left, right = asked.get(name), measured.get(name)
    if name in _WORDS:
        return Part(left, right, _word_distance(name, asked, measured))
    if left is None or right is None:
        return Part(left, right, math.inf if required else UNKNOWN)
    if name in _DIFFERENCES:
        return Part(left, right, abs(left - right) / _DIFFERENCES[name])
    if left == right:
        return Part(left, right, 0.0)
    if left <= 0 or right <= 0:  # dense against mixture-of-experts, or nonsense
        return Part(left, right, math.inf)
    return Part(left, right, abs(math.log2(left) - math.log2(right)) / _DOUBLINGS[name])


def _word_distance(name: str, asked: Features, measured: Features) -> float:
    """None is a value of its own (no quantization) where the feature is there at all."""
    if name not in asked or name not in measured:
        return UNKNOWN
    left, right = (None if side[name] is None else str(side[name]).lower().removeprefix("torch.") for side in (asked, measured))
    if left == right:
        return 0.0
    if {left, right} & set(_UNSAID_WORDS.get(name, ())):
        return min(UNKNOWN, _WORDS[name])
    return _WORDS[name]
