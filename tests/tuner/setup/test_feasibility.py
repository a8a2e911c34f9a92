"""What is refused before an engine starts, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tests.tuner.setup.features import BASE, features_of
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, ARMS, EngineSettings
from tuner.setup.feasibility import Needs, check, smallest_page_size, starvation
from tuner.setup.hardware import TPU_LIMITS

V5E, V6E, V7X = TPU_LIMITS["TPU v5e"], TPU_LIMITS["TPU v6e"], TPU_LIMITS["TPU v7x"]
DEFAULT_ONLY = Needs(arms=(ARM_DEFAULT,))


def engine(**changes: Any) -> EngineSettings:
    values: dict[str, Any] = {"block_size": 32, "max_num_batched_tokens": 2048, "max_num_seqs": 128, "max_model_len": 4096}
    return EngineSettings(**{"model": "m", "model_path": "m", **values, **changes})


def settings_of(settings: EngineSettings, features: dict[str, Any] = BASE, limits: Any = V6E, needs: Needs | None = None) -> list[str]:
    return [item.setting for item in check(settings, features, limits, needs)]


def test_the_usual_is_feasible() -> None:
    assert check(engine(), BASE, V6E) == [] and check(engine(), BASE, None) == []


@pytest.mark.parametrize(
    ("changes", "needs", "text"),
    [
        ({"block_size": 48}, Needs(), "48 is not a power of two"),
        ({"block_size": 0}, Needs(), "0 is not a power of two"),
        ({"block_size": 8192, "max_num_batched_tokens": 8192}, Needs(), "8192 is above max_model_len 4096, so no page is ever full"),
        ({"block_size": 4096}, Needs(), "above the chunk budget 2048"),
        ({"block_size": 128}, Needs(chunk_budgets=(512, 64)), "above the chunk budget 64"),
        ({"max_num_batched_tokens": 100, "alignment_variant": "strict"}, Needs(), "does not divide the chunk budget 100"),
        ({}, Needs(longest_request=4097), "longest request of 4097 tokens"),
    ],
)
def test_pages_on_any_device(changes: dict[str, Any], needs: Needs, text: str) -> None:
    (found,) = check(engine(**changes), BASE, None, needs)
    assert text in str(found) and "\n" not in str(found) and str(found).count("; ") == 1 and found.fix


def test_without_the_aligned_arm_nothing_starves() -> None:
    assert check(engine(block_size=4096), BASE, None, DEFAULT_ONLY) == []
    assert settings_of(engine(block_size=4096), limits=None, needs=Needs(arms=(ARM_PAGE_ALIGNED,))) == ["page_sizes"]


def test_the_pool_holds_one_longest_request_and_the_null_page() -> None:
    assert settings_of(engine(num_gpu_blocks=128), limits=None) == ["num_gpu_blocks"]  # 4096 / 32 pages, and none for null
    assert settings_of(engine(num_gpu_blocks=129), limits=None) == []


def test_block_tables_within_half_of_smem() -> None:
    """128 sequences x 40960 / 16 pages x 4 bytes = 1.25 MiB; half of 1 MiB is allowed."""
    wide = engine(block_size=16, max_model_len=40960)
    (found,) = check(wide, BASE, V6E)
    assert found.setting == "page_sizes" and "block tables of 1310720 bytes" in found.reason and "above 524288" in found.reason
    assert found.fix == "use pages of at least 64 or lower max_num_seqs to 51 or lower max_model_len"
    assert check(wide.with_changes(block_size=64), BASE, V6E) == []
    assert check(wide.with_changes(max_num_seqs=51), BASE, V6E) == []
    assert settings_of(wide.with_changes(max_num_seqs=52)) == ["page_sizes"]
    assert check(wide.with_changes(attention_backend="tuner_xla"), BASE, V6E) == [] and check(wide, BASE, None) == []


def test_exactly_half_of_smem_is_allowed() -> None:
    assert check(engine(block_size=16, max_num_seqs=512), BASE, V6E) == []  # 512 x 256 x 4 = 524288
    assert settings_of(engine(block_size=16, max_num_seqs=513)) == ["page_sizes"]


@examples(60)
@given(st.integers(1, 4096), st.integers(1, 131072), st.sampled_from([16, 32, 64, 128, 256]))
def test_the_smem_rule_is_tpu_inferences(seqs: int, length: int, page: int) -> None:
    """Its two formulas, written out again (flash_attn.py): below the smallest page size, and above the most sequences, it is refused."""
    pages_per_request = -(-length // page)
    most_seqs = 1024 * 1024 // 2 // pages_per_request // 4
    refused = "page_sizes" in settings_of(engine(block_size=page, max_num_seqs=seqs, max_model_len=max(page, length)), needs=DEFAULT_ONLY)
    if length >= page:
        assert refused == (seqs > most_seqs)
    if 1024 * 1024 // 2 // seqs // 4:
        smallest = -(-length // (1024 * 1024 // 2 // seqs // 4))
        assert smallest_page_size(engine(max_num_seqs=seqs, max_model_len=length), V6E) == 1 << (smallest - 1).bit_length()


def test_qwen3_32b_needs_more_than_one_v5e(tmp_path: Any) -> None:
    """65.5 GB of weights against 0.92 x 15.75 GiB a chip: 8 chips hold them, 4 do not (61.0 GiB / 4 = 15.3)."""
    features = features_of("Qwen--Qwen3-32B", tmp_path)
    (found,) = check(engine(), features, V5E)
    assert found.setting == "tensor_parallel_size"
    assert "weights of 61.0 GiB" in found.reason and "14.5 of 15.75 GiB" in found.reason and found.fix == "use tensor_parallel_size 8"
    assert settings_of(engine(tensor_parallel_size=4), features, V5E) == ["tensor_parallel_size"]
    assert settings_of(engine(tensor_parallel_size=8), features, V5E) == []
    assert settings_of(engine(), features, V7X) == [] and settings_of(engine(dtype="float32"), features, V7X) == ["tensor_parallel_size"]


def test_qwen3_0_6b_fits_one_v5e(tmp_path: Any) -> None:
    assert check(engine(), features_of("Qwen--Qwen3-0.6B", tmp_path), V5E) == []


def test_qwen3_30b_a3b_is_judged_by_all_its_experts(tmp_path: Any) -> None:
    """56.9 GiB of weights though 3 billion parameters are active: 14.2 GiB on each of four v5e leave 0.5 of the 14.7 for requests."""
    features = features_of("Qwen--Qwen3-30B-A3B", tmp_path)
    found = [size for size in (1, 2, 4, 8) if not check(engine(tensor_parallel_size=size), features, V5E)]
    assert found == [4, 8]
    assert settings_of(engine(tensor_parallel_size=4, max_model_len=32768), features, V5E) == ["tensor_parallel_size"]  # 24 KiB a token
    assert settings_of(engine(), features, V6E) == ["tensor_parallel_size"] and not check(engine(tensor_parallel_size=2), features, V6E)


def test_one_request_of_the_maximum_length_must_fit_beside_the_weights(tmp_path: Any) -> None:
    """Qwen3-8B on one v5e: 15.3 GiB of weights do not fit 14.7; on two 7.1 GiB are left, at 72 KiB a token 103 thousand tokens."""
    features = features_of("Qwen--Qwen3-8B", tmp_path)
    assert settings_of(engine(), features, V5E) == ["tensor_parallel_size"]
    long = engine(tensor_parallel_size=2, max_num_seqs=8, max_model_len=120_000)
    (found,) = check(long, features, V5E)
    assert "and a KV cache of 8.2 GiB" in found.reason and found.fix == "use tensor_parallel_size 4 or lower max_model_len"
    assert check(long.with_changes(max_model_len=90_000), features, V5E) == []
    assert check(long.with_changes(extra_engine_args={"kv_cache_dtype": "fp8"}), features, V5E) == []


@pytest.mark.parametrize(
    "extra", [{"quantization": "fp8"}, {"pipeline_parallel_size": 4}, {"hf_overrides": {"num_hidden_layers": 2}}, {"cpu_offload_gb": 50}]
)
def test_hbm_is_not_judged_where_the_formula_does_not_hold(extra: dict[str, Any], tmp_path: Any) -> None:
    assert check(engine(extra_engine_args=extra), features_of("Qwen--Qwen3-32B", tmp_path), V5E) == []


def test_memory_utilization_counts(tmp_path: Any) -> None:
    features = features_of("Qwen--Qwen3-8B", tmp_path)  # 15.3 GiB
    assert settings_of(engine(), features, V6E) == []
    assert settings_of(engine(extra_engine_args={"gpu_memory_utilization": 0.45}), features, V6E) == ["tensor_parallel_size"]


@given(st.sampled_from([16, 32, 64, 128, 256]), st.integers(1, 4096), st.sampled_from(["demote", "strict"]))
def test_starvation_is_what_the_rules_say(page_size: int, budget: int, variant: str) -> None:
    """Independent of the rule: a tail of t tokens (1 <= t <= budget) must be schedulable on an empty step, whole or in pages."""
    rounded = [-(-tail // page_size) * page_size for tail in range(1, budget + 1)]
    stuck = page_size > budget or (variant == "strict" and any(charge > budget for charge in rounded))
    assert (starvation(page_size, budget, ARMS, variant) is not None) == stuck
    assert starvation(page_size, budget, (ARM_DEFAULT,), variant) is None
