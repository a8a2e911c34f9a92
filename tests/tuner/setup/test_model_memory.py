"""Weights and KV pages of real models, against numbers worked out by hand and the published parameter counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tests.tuner.setup.features import BASE, features_of
from tuner.setup.model_memory import kv_page_bytes, parameter_count, served_dtype, weight_bytes

# By hand: embeddings + final norm + layers x (attention + two norms) + layers x feed-forward.
QWEN3_0_6B = 151936 * 1024 + 1024 + 28 * (2 * 1024 * 128 * (16 + 8) + 2 * 1024) + 28 * 3 * 1024 * 3072
QWEN3_32B = 2 * 151936 * 5120 + 5120 + 64 * (2 * 5120 * 128 * (64 + 8) + 2 * 5120) + 64 * 3 * 5120 * 25600
QWEN3_30B_A3B = 2 * 151936 * 2048 + 2048 + 48 * (2 * 2048 * 128 * (32 + 4) + 2 * 2048) + 48 * (128 * 3 * 2048 * 768 + 2048 * 128)
CASES = [  # (file, by hand, published parameters)
    ("Qwen--Qwen3-0.6B", QWEN3_0_6B, 596_049_920),
    ("Qwen--Qwen3-32B", QWEN3_32B, 32_762_123_264),
    ("Qwen--Qwen3-30B-A3B", QWEN3_30B_A3B, 30_532_122_624),
]


@pytest.mark.parametrize(("name", "by_hand", "published"), CASES)
def test_parameters_of_real_models(name: str, by_hand: int, published: int, tmp_path: Any) -> None:
    count = parameter_count(features_of(name, tmp_path))
    assert count == by_hand
    assert count <= published  # a lower bound ...
    assert count == pytest.approx(published, rel=1e-4)  # ... and a close one


def test_weights_and_pages_of_qwen3_32b(tmp_path: Any) -> None:
    features = features_of("Qwen--Qwen3-32B", tmp_path)
    assert weight_bytes(features, "bfloat16", 1) == 2 * QWEN3_32B
    assert weight_bytes(features, "bfloat16", 8) == 2 * QWEN3_32B // 8
    # 64 layers x key and value x 8 heads x 128 x 2 bytes = 256 KiB a token
    assert kv_page_bytes(features, "bfloat16", 32, 1) == 32 * 256 * 1024
    assert kv_page_bytes(features, "bfloat16", 32, 8) == 32 * 32 * 1024
    assert kv_page_bytes(features, "bfloat16", 32, 16) == 32 * 32 * 1024  # fewer heads than devices are repeated
    assert kv_page_bytes(features, "fp8", 32, 1) == 32 * 128 * 1024


def test_the_tiny_model() -> None:
    by_hand = 2048 * 256 + 256 + 2 * (2 * 256 * 64 * (4 + 2) + 2 * 256) + 2 * 3 * 256 * 512
    assert parameter_count(BASE) == by_hand


@pytest.mark.parametrize(("head_size", "lanes"), [(64, 64), (32, 128), (80, 128), (128, 128), (192, 256)])
def test_heads_are_padded_to_lanes_but_64(head_size: int, lanes: int) -> None:
    assert kv_page_bytes({**BASE, "head_size": head_size}, "bfloat16", 16, 1) == 2 * 2 * 2 * lanes * 2 * 16


@pytest.mark.parametrize(
    "change", [{"quantization": "awq"}, {"attention": "mla"}, {"attention": "hybrid"}, {"attention": None}, {"intermediate_size": None}]
)
def test_what_is_not_known_is_no_number(change: dict[str, Any]) -> None:
    assert parameter_count({**BASE, **change}) is None
    assert weight_bytes({**BASE, **change}, "bfloat16", 1) is None
    assert weight_bytes(BASE, "int4", 1) is None


def test_features_of_an_older_study_say_nothing() -> None:
    assert parameter_count({"layers": 2, "hidden_size": 256, "heads": 4, "kv_heads": 2, "head_size": 64, "vocab_size": 2048}) is None


@pytest.mark.parametrize("attention", ["sliding", "mla", "hybrid"])
def test_a_cache_of_another_form_is_no_number(attention: str) -> None:
    assert kv_page_bytes({**BASE, "attention": attention}, "bfloat16", 16, 1) is None
    assert kv_page_bytes(BASE, "nvfp4", 16, 1) is None


def test_auto_serves_float32_models_in_bfloat16() -> None:
    assert served_dtype("auto", {"dtype": "float32"}) == served_dtype("auto", {"dtype": "auto"}) == "bfloat16"
    assert served_dtype("auto", {"dtype": "torch.float16"}) == "float16" and served_dtype("float32", {"dtype": "bfloat16"}) == "float32"


@examples(40)
@given(st.sampled_from(["layers", "hidden_size", "heads", "vocab_size", "intermediate_size"]), st.integers(1, 8))
def test_a_larger_model_never_needs_less(name: str, factor: int) -> None:
    small, large = parameter_count(BASE), parameter_count({**BASE, name: BASE[name] * factor})
    assert small is not None and large is not None and large >= small
