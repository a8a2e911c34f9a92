from __future__ import annotations

from typing import Any

import pytest

from tuner.core.errors import BadInput
from tuner.foresight.operations import StepWork, check_predictable, decode, matmul, operations_of, prefill

FEATURES: dict[str, Any] = {
    "layers": 2,
    "hidden_size": 256,
    "heads": 4,
    "kv_heads": 2,
    "head_size": 64,
    "intermediate_size": 512,
    "vocab_size": 2048,
    "gated_mlp": True,
    "attention": "full",
    "experts": 0,
    "quantization": None,
}


def test_a_matrix_product_counts_flops_and_every_byte_once() -> None:
    assert matmul("x", 3, 5, 7, size=2).terms == (2 * 3 * 5 * 7, 2 * (5 * 7 + 3 * 5 + 3 * 7))


def test_a_step_has_every_matrix_of_every_layer() -> None:
    operations = operations_of(FEATURES, StepWork(16, decodes=4, decode_context=400))
    flops = sum(item.terms[0] * item.times for item in operations if item.family == "matmul")
    layer = 256 * 256 + 2 * 256 * 128 + 256 * 256 + 3 * 256 * 512  # q, k and v, o, and the three of the feed-forward
    assert flops == 2 * 16 * 2 * layer + 2 * 4 * 256 * 2048  # logits for the requests, not for padding


def test_padding_costs_what_tokens_cost() -> None:
    small, padded = (operations_of(FEATURES, StepWork(tokens, prefills=((10, 0),))) for tokens in (16, 32))
    assert [item.kind for item in small] == [item.kind for item in padded]
    assert sum(item.terms[0] for item in padded if item.kind == "q_proj") == 2 * sum(
        item.terms[0] for item in small if item.kind == "q_proj"
    )
    assert small[-1] == padded[-1]  # attention skips it


def test_each_prefill_segment_is_an_operation_and_all_decodes_are_one() -> None:
    kinds = [item.kind for item in operations_of(FEATURES, StepWork(64, ((16, 0), (32, 128)), 5, 900))]
    assert (kinds.count("prefill_attention"), kinds.count("decode_attention")) == (2, 1)
    assert "decode_attention" not in [item.kind for item in operations_of(FEATURES, StepWork(64, ((16, 0),)))]


def test_tensor_parallelism_divides_matrices_and_heads() -> None:
    work = StepWork(16, decodes=4, decode_context=400)
    one, two = ({item.kind: item for item in operations_of(FEATURES, work, devices=devices)} for devices in (1, 2))
    assert two["gate_proj"].terms[0] == one["gate_proj"].terms[0] / 2
    assert two["decode_attention"].shape == (2, 1, 64)


def test_half_the_heads_are_half_the_work_on_the_cache() -> None:
    whole, half = decode((32, 8, 128), 4, 1000), decode((16, 4, 128), 4, 1000)
    assert half.terms[1:] == tuple(term / 2 for term in whole.terms[1:])
    assert prefill((32, 8, 128), 64, 100).terms == (1.0, 64, 100, 6400.0, 4096.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"experts": 8}, "mixture of experts"),
        ({"attention": "mla"}, "mla attention"),
        ({"attention": "sliding"}, "sliding attention"),
        ({"quantization": "fp8"}, "quantised"),
        ({"intermediate_size": None}, "intermediate_size"),
    ],
)
def test_models_of_other_parts_have_no_prediction(change: dict[str, Any], reason: str) -> None:
    check_predictable(FEATURES)
    with pytest.raises(BadInput, match=reason):
        check_predictable({**FEATURES, **change})
