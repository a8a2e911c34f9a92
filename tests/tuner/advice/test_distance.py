"""Distances between models and workloads: properties, and what the scales mean."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuner.advice.models import QWEN
from tuner.advice.distance import (
    MODEL_FEATURES,
    MODEL_REQUIRED,
    NEAR,
    WORKLOAD_FEATURES,
    checked_features,
    model_features,
    model_parts,
    norm,
    workload_features,
    workload_parts,
)
from tuner.core.errors import BadInput
from tuner.setup.models import TINY_QWEN3, resolve_model

CHAT = {"input_p50": 300.0, "input_p99": 1900.0, "output_p50": 150.0, "output_p99": 800.0, "prefix_share": 0.5, "max_concurrency": 32}

_sizes = st.integers(1, 100_000)
_required: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(MODEL_REQUIRED, _sizes)
_lengths: dict[str, st.SearchStrategy[Any]] = {"input_p50": _sizes, "output_p50": _sizes}
_models = st.fixed_dictionaries(
    _required,
    optional={
        "experts": st.integers(0, 256),
        "experts_per_token": st.integers(1, 8),
        "dtype": st.sampled_from(["bfloat16", "torch.float32", "auto"]),
        "attention": st.sampled_from(["full", "mla"]),
        "quantization": st.sampled_from([None, "fp8"]),
    },
)
_workloads = st.fixed_dictionaries(
    _lengths,
    optional={"input_p99": _sizes, "output_p99": _sizes, "prefix_share": st.floats(0, 1), "request_rate": st.floats(0.01, 1e4)},
)


@given(_models, _models)
def test_models_are_as_far_one_way_as_the_other(left: dict[str, Any], right: dict[str, Any]) -> None:
    there, back = norm(model_parts(left, right)), norm(model_parts(right, left))
    assert there == back >= 0
    assert not math.isnan(there)


@given(_workloads, _workloads)
def test_workloads_are_as_far_one_way_as_the_other(left: dict[str, Any], right: dict[str, Any]) -> None:
    there, back = norm(workload_parts(left, right)), norm(workload_parts(right, left))
    assert there == back >= 0
    assert not math.isnan(there)


def test_the_same_is_no_distance_away() -> None:
    assert norm(model_parts(QWEN, QWEN)) == norm(workload_parts(CHAT, CHAT)) == 0
    tiny = model_features(resolve_model(TINY_QWEN3).features)
    assert set(tiny) == set(MODEL_FEATURES)
    assert norm(model_parts(tiny, tiny)) == 0


@given(st.sampled_from(MODEL_REQUIRED), st.floats(1.01, 4), st.floats(1.01, 4))
def test_further_apart_is_further(name: str, near: float, more: float) -> None:
    def at(factor: float) -> float:
        return norm(model_parts(QWEN, {**QWEN, name: QWEN[name] * factor}))

    assert 0 < at(near) < at(near * more)
    assert math.isclose(at(near), at(1 / near))


@pytest.mark.parametrize(
    ("change", "distance"),
    [
        ({"layers": 56}, 1.0),
        ({"hidden_size": 512}, 1.0),
        ({"kv_heads": 4}, 1.0),
        ({"head_size": 64}, 2.0),
        ({"layers": 56, "heads": 32}, math.sqrt(2)),
        ({"experts": 8}, math.inf),
        ({"attention": "sliding"}, math.inf),
        ({"dtype": "float32"}, 0.5),
        ({"dtype": "torch.bfloat16"}, 0.0),
        ({"quantization": "fp8"}, 0.75),
    ],
)
def test_scales_of_models(change: dict[str, Any], distance: float) -> None:
    assert norm(model_parts(QWEN, {**QWEN, **change})) == pytest.approx(distance)


@pytest.mark.parametrize(
    ("change", "distance"),
    [
        ({"input_p50": 600.0, "input_p99": 3800.0}, 1.0),
        ({"output_p50": 300.0}, math.sqrt(0.5)),
        ({"prefix_share": 0.25}, 1.0),
        ({"max_concurrency": 64}, 1.0),
        ({"max_concurrency": None, "request_rate": 3.0}, math.inf),
        ({"max_concurrency": None}, 0.5),
        ({"input_p99": None}, 0.5),
        ({"input_p50": None}, math.inf),
    ],
)
def test_scales_of_workloads(change: dict[str, Any], distance: float) -> None:
    assert norm(workload_parts({**CHAT, **change}, CHAT)) == pytest.approx(distance)


def test_what_is_not_said_is_not_near() -> None:
    assert math.isinf(norm(model_parts({}, QWEN)))
    assert 0 < norm(model_parts({name: QWEN[name] for name in MODEL_REQUIRED}, QWEN)) <= NEAR


def test_features_of_a_stored_workload() -> None:
    quantiles = {"p0": 1.0, "p50": 300.0, "p99": 1900.0}
    summary = {"input_quantiles": quantiles, "output_quantiles": {"p50": 150.0, "p99": 800.0}, "prefix_share": 0.5, "max_concurrency": 32}
    assert workload_features(summary) == CHAT
    assert workload_features({"offered_rate": 3.0, "max_concurrency": None}) == {"request_rate": 3.0}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"speed": 1}, "'speed' is unknown"),
        ({"input_p50": 0}, "above 0"),
        ({"input_p50": math.nan}, "finite"),
        ({"input_p50": "9"}, "finite"),
        ({"prefix_share": 1.5}, "between 0 and 1"),
    ],
)
def test_impossible_features_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        checked_features(given, WORKLOAD_FEATURES, "workload")
    assert checked_features({**CHAT, "request_rate": None}, WORKLOAD_FEATURES, "workload") == CHAT
