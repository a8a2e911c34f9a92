from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.tuner.evidence_builder import StudyBuilder
from tuner.serving.stored_settings import settings_of
from tuner.serving.vllm_args import vllm_config, vllm_environment, vllm_flags


def flags(arm: str, platform: str = "tpu", effective: dict[str, object] | None = None, **requested: object) -> list[str]:
    trial = replace(StudyBuilder().trial(arm, 32, 256, requested=requested), effective=effective or {})
    return vllm_flags(vllm_config(trial, platform))


def value_of(options: list[str], name: str) -> str:
    return options[options.index(name) + 1]


def test_the_default_arm_on_a_tpu_is_plain_vllm() -> None:
    options = flags("default")
    assert options == [
        "--block-size", "32", "--max-num-batched-tokens", "256", "--max-num-seqs", "16", "--max-model-len", "512",
        "--enable-prefix-caching", "--no-async-scheduling",
    ]  # fmt: skip


@pytest.mark.parametrize(("asynchronous", "name"), [(False, "PageAlignedScheduler"), (True, "AsyncPageAlignedScheduler")])
def test_the_aligned_arm_names_the_scheduler_that_fits_async_scheduling(asynchronous: bool, name: str) -> None:
    options = flags("page_aligned", async_scheduling=asynchronous, alignment_variant="strict")
    assert value_of(options, "--scheduler-cls") == f"tuner.vllm_plugin.scheduler.{name}"
    assert ("--async-scheduling" if asynchronous else "--no-async-scheduling") in options
    assert json.loads(value_of(options, "--additional-config")) == {"tuner": {"page_aligned": True, "variant": "strict"}}


def test_the_measured_kv_write_is_pinned_where_our_backend_writes() -> None:
    options = flags("page_aligned", effective={"kv_write": "scatter,loop"}, attention_backend="tuner_xla")
    assert value_of(options, "--attention-backend") == "TUNER_XLA"
    assert json.loads(value_of(options, "--additional-config"))["tuner"]["kv_write"] == "scatter,loop"
    unknown = flags("page_aligned", effective={"kv_write": None}, attention_backend="tuner_xla", kv_write="loop,loop")
    assert json.loads(value_of(unknown, "--additional-config"))["tuner"]["kv_write"] == "loop,loop"
    assert "kv_write" not in " ".join(flags("page_aligned", effective={"kv_write": "scatter,loop"}))


def test_off_a_tpu_the_backend_the_pool_and_the_environment_come_along() -> None:
    options = flags("default", platform="cpu")
    assert "--scheduler-cls" not in options
    assert value_of(options, "--attention-backend") == "TUNER_XLA"
    assert int(value_of(options, "--num-gpu-blocks-override")) > 0
    assert "sharding" in json.loads(value_of(options, "--additional-config"))
    trial = StudyBuilder().trial()
    assert vllm_environment(settings_of(trial), "cpu")["JAX_PLATFORMS"] == "cpu"
    assert vllm_environment(settings_of(trial), "tpu") == {}
    for ours in ("tuner_xla", "tuner_rpa"):
        assert vllm_environment(settings_of(trial).with_changes(attention_backend=ours), "tpu") == {"MODEL_IMPL_TYPE": "vllm"}


def test_a_write_by_dma_has_no_implementation_to_pin() -> None:
    options = flags("page_aligned", effective={"kv_write": "dma,dma"}, attention_backend="tuner_rpa")
    assert value_of(options, "--attention-backend") == "TUNER_RPA"
    assert json.loads(value_of(options, "--additional-config")) == {"tuner": {"page_aligned": True, "variant": "demote"}}


def test_the_users_own_engine_arguments_are_kept() -> None:
    options = flags(
        "page_aligned", extra_engine_args={"additional_config": {"mine": 1}, "swap_space": 2, "limit": ["a", "b"], "nothing": None}
    )
    assert json.loads(value_of(options, "--additional-config")).keys() == {"mine", "tuner"}
    assert value_of(options, "--swap-space") == "2"
    assert options[options.index("--limit") :][:3] == ["--limit", "a", "b"] and "--nothing" not in options


def test_only_what_differs_from_vllms_defaults_gets_a_flag() -> None:
    assert not {"--dtype", "--load-format", "--tensor-parallel-size", "--seed", "--skip-tokenizer-init"} & set(flags("default"))
    options = flags("default", dtype="bfloat16", load_format="dummy", tensor_parallel_size=4)
    assert {"--dtype", "--load-format", "--tensor-parallel-size", "--skip-tokenizer-init"} <= set(options)


def test_the_trials_own_page_size_and_budget_are_used() -> None:
    trial = StudyBuilder().trial("default", 64, 512, requested={"block_size": 16, "max_num_batched_tokens": 2048})
    config = vllm_config(trial, "tpu")
    assert (config["block_size"], config["max_num_batched_tokens"], config["model"]) == (64, 512, "models/tiny-qwen3")


def test_the_flags_keep_their_order_from_version_to_version() -> None:
    config = vllm_config(StudyBuilder().trial(requested={"dtype": "bfloat16", "load_format": "dummy", "seed": 3}), "tpu")
    assert list(config) == [
        *("model", "skip_tokenizer_init", "dtype", "load_format", "block_size", "max_num_batched_tokens", "max_num_seqs"),
        *("max_model_len", "enable_prefix_caching", "async_scheduling", "seed"),
    ]
