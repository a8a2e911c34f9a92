"""Each rule on the scopes it is there for: from the real engine on CPU, from tpu-inference's sources, and from the real TPU file."""

from __future__ import annotations

import pytest

from profiles.classify import CATEGORIES, RULES, Category, classify, is_anchor

STEP = "jit(step_fun_impl)/"
MERGED, QKV = STEP + "MergedColumnParallelLinear/dot_general", STEP + "VllmQKVParallelLinear/dot_general"
ROW = STEP + "VllmRowParallelLinear/dot_general"
RSQRT = STEP + "aten::rsqrt/rsqrt"
RPA = "RPA-HD_128-bq_32_1024-p_64-bq_8-bkv_128"

# scope, context, hlo_category, module -> category
CASES = [
    (STEP + "jit(_jax_attn_func)/tuner_kv_write_page/scatter", "", "loop fusion", "jit_step", Category.KV_WRITE),
    (STEP + "jit(_jax_attn_func)/tuner_kv_write_token/while", "", "copy", "jit_step", Category.KV_WRITE),
    (STEP + "jit(_jax_attn_func)/tuner_attention_decode/while/body/exp", "", "copy", "jit_step", Category.ATTENTION),
    (STEP + "jit(_jax_attn_func)/stack", "", "data formatting", "jit_step", Category.ATTENTION),
    (STEP + "ragged_paged_attention/custom", "", "custom-call", "jit_step", Category.ATTENTION_FUSED_KV),
    (STEP + RPA, "", "custom-call", "jit_step", Category.ATTENTION_FUSED_KV),
    (MERGED, "", "convolution fusion", "jit_step", Category.MLP),
    (QKV, "", "convolution fusion", "jit_step", Category.PROJECTION),
    (ROW, STEP + "jit(_jax_attn_func)/tuner_attention_decode/x", "convolution fusion", "jit_step", Category.PROJECTION),
    (ROW, MERGED, "convolution fusion", "jit_step", Category.MLP),
    (ROW, STEP + "aten::silu/mul", "convolution fusion", "jit_step", Category.MLP),
    (STEP + "layers.0/mlp/down_proj/dot_general", "", "convolution fusion", "jit_step", Category.MLP),
    (STEP + "layers.0/self_attn/o_proj/dot_general", "", "convolution fusion", "jit_step", Category.PROJECTION),
    (STEP + "layers.0/self_attn/q_norm/mul", "", "loop fusion", "jit_step", Category.NORM),
    (STEP + "layers.0/post_attention_layernorm/mul", "", "loop fusion", "jit_step", Category.NORM),
    (STEP + "aten::mean.dim/reduce_sum", "", "loop fusion", "jit_step", Category.NORM),
    (STEP + "aten::mul.Tensor/mul", RSQRT, "loop fusion", "jit_step", Category.NORM),
    (STEP + "aten::mul.Tensor/mul", MERGED, "loop fusion", "jit_step", Category.MLP),
    (STEP + "aten::mul.Tensor/mul", STEP + "aten::index_select/gather", "loop fusion", "jit_step", Category.ATTENTION),
    (STEP + "aten::cat/concatenate", QKV, "data formatting", "jit_step", Category.ATTENTION),
    (STEP + "aten::add.Tensor/add", ROW, "loop fusion", "jit_step", Category.NORM),
    (STEP + "aten::embedding/gather", "", "loop fusion", "jit_step", Category.PROJECTION),
    ("jit(compute_logits_func)/linear/dot_general", "", "dot", "jit_compute_logits_func", Category.PROJECTION),
    ("", "", "dot", "jit_compute_logits_func", Category.PROJECTION),
    ("jit(sample)/reduce", "", "loop fusion", "jit_sample", Category.SAMPLING),
    ("jit(step)/argmax", "", "loop fusion", "jit_step", Category.SAMPLING),
    ("jit(step)/FusedMoE/top_k", "", "loop fusion", "jit_step", Category.MLP),
    ("jit(_psum)/jit(main)/reduce_sum", "", "all-reduce", "jit__psum", Category.COLLECTIVE),
    (ROW.replace("dot_general", "psum"), MERGED, "local all-reduce", "jit_step", Category.MLP),
    (ROW.replace("dot_general", "psum"), QKV, "local all-reduce", "jit_step", Category.PROJECTION),
    ("jit(f)/shard_map/psum", "", "local all-reduce", "jit_f", Category.COPY),
    ("", "", "copy-done", "jit_f", Category.COPY),
    ("", "", "data formatting", "jit_f", Category.COPY),
    ("jit(f)/jit(main)/add", "", "loop fusion", "jit_f", Category.UNATTRIBUTED),
    ("jit(f)/random_normal", "", "loop fusion", "jit_f", Category.UNATTRIBUTED),
    ("", "", "convolution fusion", "jit_f", Category.UNATTRIBUTED),
]


@pytest.mark.parametrize(("scope", "context", "hlo_category", "module", "expected"), CASES)
def test_category(scope: str, context: str, hlo_category: str, module: str, expected: Category) -> None:
    assert classify(scope, context, hlo_category, module)[0] is expected


def test_an_attention_kernel_is_not_recognised_by_its_name_without_the_category() -> None:
    assert classify(STEP + RPA, "", "loop fusion", "jit_step")[0] is not Category.ATTENTION_FUSED_KV


def test_every_rule_decides_a_case() -> None:
    decided = {classify(*case[:4])[1] for case in CASES}
    assert {rule.name for rule in RULES} - decided == {"select program"}
    assert classify("jit(_select_from_array_fn)/gather", "", "gather", "jit__select_from_array_fn") == (Category.COPY, "select program")


def test_anchors_are_parts_of_the_model_not_bare_ops() -> None:
    assert is_anchor(MERGED) and is_anchor(RSQRT)
    assert not is_anchor(STEP + "aten::mul.Tensor/mul")


def test_the_categories_are_those_of_the_design() -> None:
    words = "kv_write attention attention_fused_kv projection mlp norm sampling copy loop_control collective host_gap idle unattributed"
    assert [str(category) for category in CATEGORIES] == words.split()
