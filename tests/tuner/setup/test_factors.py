"""Further settings to try: how they are written, and which are refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tuner.workbench import config_of
from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput
from tuner.core.factors import LONG_PREFILL, Level, levels_text, shortened
from tuner.serving.arg_facts import ArgFacts
from tuner.setup.factors import check_levels, check_long_prefill, own_levels, parse_levels

KNOWN = {
    "kv_cache_dtype": ArgFacts("auto", words=("auto", "fp8")),
    "gpu_memory_utilization": ArgFacts(0.92, types=("float",), bounds={"gt": 0.0, "le": 1.0}),
    "enforce_eager": ArgFacts(False, types=("bool",)),
    "quantization": ArgFacts("unset"),
    "max_num_seqs": ArgFacts("unset", types=("int",)),
}


@pytest.mark.parametrize(
    ("name", "text", "levels"),
    [
        ("max_num_seqs", "8,16, 32", (8, 16, 32)),
        ("max_num_seqs", "8..11", (8, 9, 10, 11)),
        ("max_num_seqs", "8..64:24", (8, 32, 56)),
        ("max_num_seqs", "8..70:log", (8, 16, 32, 64)),
        ("max_num_seqs", "1,8..9", (1, 8, 9)),
        ("kv_cache_dtype", "auto,fp8", ("auto", "fp8")),
        ("enforce_eager", "true,false", (True, False)),
        ("gpu_memory_utilization", "0.8;0.9", (0.8, 0.9)),
        ("quantization", "unset,fp8", ("unset", "fp8")),
        ("env:USE_BATCHED_RPA_KERNEL", "0,1", ("0", "1")),
        ("env:RPA_V3_DECODE_BLOCK_SIZES", "unset; 8,32,8,32", ("unset", "8,32,8,32")),
        ("env:RPA_V3_DECODE_BLOCK_SIZES", "8,32,8,32", ("8,32,8,32",)),
    ],
)
def test_levels_are_read_as_they_are_meant_and_written_again(name: str, text: str, levels: tuple[Any, ...]) -> None:
    assert parse_levels(name, text) == levels
    assert [type(level) for level in parse_levels(name, text)] == [type(level) for level in levels]
    assert parse_levels(name, levels_text(levels)) == levels


def test_a_study_file_may_name_them_as_a_list_or_as_one_text() -> None:
    expected = {"max_num_seqs": (8, 16, 17), "env:USE_BATCHED_RPA_KERNEL": ("0", "1"), "kv_cache_dtype": ("auto",)}
    given = {"max_num_seqs": [8, "16..17"], "env:USE_BATCHED_RPA_KERNEL": [0, 1], "kv_cache_dtype": "auto"}
    assert config_of(factors=given).factors == expected
    assert config_of(factors=config_of(factors=given).to_json()["factors"]).factors == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": {"max_num_seqs": "8,8"}}, "max_num_seqs: 8 is there twice; keep one"),
        ({"factors": {"max_num_seqs": "8..16:4,12"}}, "max_num_seqs: 12 is there twice"),
        ({"factors": {"max_num_seqs": []}}, "max_num_seqs has no level; name its levels"),
        ({"factors": {"max_num_seqs": "1..10000000"}}, "10,000,000 levels, more than 1,000; add a step"),
        ({"factors": {"max_num_seqs": "64..8"}}, "64..8 is empty; write for instance 8..64"),
        ({"factors": {"max_num_seqs": "0..8:log"}}, "doubles from its first number"),
        ({"factors": {"max_num_seqs": "0,8"}}, "max_num_seqs: 0 is not a whole number above 0"),
        ({"factors": {"max_num_seqs": "8.5"}}, "max_num_seqs: 8.5 is not a whole number above 0"),
        ({"factors": {"max_num_seqs": "unset"}}, "max_num_seqs: unset is not a whole number above 0"),
        ({"factors": {"max_num_seqs": "8,512"}}, "512 is above the largest chunk budget 256, which vLLM refuses"),
        ({"factors": {"max_num_seqs": "8"}, "max_num_seqs": 16}, "max_num_seqs is also fixed to 16; drop --max-num-seqs, or the factor"),
        ({"factors": {"max-num-seqs": "8"}}, "write max_num_seqs"),
        ({"factors": {"enable_prefix_caching": "1,0"}}, "enable_prefix_caching: 1 is not true or false"),
        ({"factors": {"block_size": "16,32"}}, "block_size has an option of its own; use page_sizes"),
        ({"factors": {"arms": "default"}}, "use arms"),
        ({"factors": {"max_model_len": "512,1024"}}, "max_model_len is one setting of a whole search; use the setting max_model_len"),
        ({"factors": {"kv_write": "auto"}}, "kv_write is one setting of a whole search"),
        ({"factors": {"kv_cache_dtype": "fp8"}, "engine_args": {"kv-cache-dtype": "auto"}}, "kv_cache_dtype is also fixed by engine_args"),
        ({"factors": {"data_parallel_size": "1,2"}}, "data parallelism"),
        ({"factors": {"speculative_config": "ngram"}}, "speculative decoding"),
        ({"factors": {"env:HOME": "/tmp"}}, "env:HOME is no variable of tpu-inference .* known: RPA_V3_DECODE_BLOCK_SIZES"),
        ({"factors": {"env:USE_BATCHED_RPA_KERNEL": "yes"}}, "yes is not 0 or 1"),
        ({"factors": {"env:RPA_V3_MIXED_BLOCK_SIZES": "8,32,16"}}, "8 is not four numbers; write four numbers with ; between levels"),
        ({"factors": {"env:USE_BATCHED_RPA_KERNEL": "0"}, "launcher": "simulate"}, "a simulation knows nothing"),
        ({"factors": {"kv_cache_dtype": [{"a": 1}]}}, "cannot be a level"),
        ({"factors": {"kv_cache_dtype": [".nan", float("nan")]}}, "cannot be a level"),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        config_of(**changes)
    assert "\n" not in str(caught.value) and "factor" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("kv_cache_dtyp", ("fp8",), "vLLM has no kv_cache_dtyp; did you mean kv_cache_dtype?"),
        ("kv_cache_dtype", ("auto", "fp9"), "kv_cache_dtype: fp9 is not one of auto, fp8"),
        ("gpu_memory_utilization", (0.5, 1.5), "1.5 is not at most 1"),
        ("gpu_memory_utilization", (0,), "0 is not above 0"),
        ("enforce_eager", ("yes",), "yes is not true or false"),
        ("max_num_seqs", (True,), "true is not a whole number"),
    ],
)
def test_what_vllm_refuses_is_refused_before_it_starts(name: str, levels: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_levels({name: levels}, KNOWN)
    assert message in str(caught.value)
    check_levels({name: levels}, {})  # without its source nobody knows


@pytest.mark.parametrize(
    ("levels", "engine_args", "message"),
    [
        ((0, 513), {}, "513 is above max_model_len 512, which vLLM refuses"),
        (("unset", 64), {"enable-chunked-prefill": False}, "64 needs chunked prefill, which engine_args turns off"),
    ],
)
def test_a_threshold_for_long_prompts_that_no_engine_takes_is_refused(levels: tuple[Any, ...], engine_args: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_long_prefill({LONG_PREFILL: levels}, engine_args, 512)
    check_long_prefill({LONG_PREFILL: (0, "unset")}, engine_args, 512)
    check_long_prefill({LONG_PREFILL: (0, 512)}, {"enable_chunked_prefill": True}, 512)


def test_what_vllm_takes_is_accepted_and_its_own_level_is_known() -> None:
    factors = {
        "kv_cache_dtype": ("auto", "fp8", "unset"),
        "gpu_memory_utilization": (0.5, 1),
        "quantization": ("fp8", 3),
        "max_num_seqs": (8,),
        "env:USE_BATCHED_RPA_KERNEL": ("0", "unset"),
    }
    check_levels(factors, KNOWN)
    own = {"kv_cache_dtype": "auto", "gpu_memory_utilization": 0.92, "quantization": "unset", "max_num_seqs": 256}
    assert own_levels(factors, KNOWN) == {**own, "env:USE_BATCHED_RPA_KERNEL": "unset"}
    assert own_levels({"depth": (1, 2)}, KNOWN) == {}


def test_a_level_becomes_a_field_an_argument_or_a_variable_and_unset_says_nothing() -> None:
    engine = EngineSettings("m", "m", 16, 128, 64, 512, extra_engine_args={"kept": 1})
    found = engine.with_factors(
        (
            ("dtype", "float16"),
            ("env:A", "1"),
            ("env:B", "unset"),
            ("kv_cache_dtype", "fp8"),
            ("max_num_seqs", 8),
            ("quantization", "unset"),
        )
    )
    assert (found.dtype, found.max_num_seqs, found.env) == ("float16", 8, {"A": "1"})
    assert found.extra_engine_args == {"kept": 1, "kv_cache_dtype": "fp8"}
    assert engine.with_factors(()) == engine and engine.extra_engine_args == {"kept": 1}


def test_many_levels_are_shortened_for_people() -> None:
    assert shortened((1, 2)) == "1,2"
    assert shortened(range(100)).endswith("17,18, ... 99 (100 levels)")


KEYS = {
    "additional_config.sharding": ArgFacts(),
    "additional_config.enable_sp": ArgFacts(False, ("bool",)),
    "additional_config.max_decode_steps": ArgFacts(),
}
KEY = "additional_config.enable_sp"
INSIDE = "additional_config.sharding.sharding_strategy.enable_dp_attention"


def test_keys_of_additional_config_go_where_tpu_inference_reads_them() -> None:
    factors: dict[str, tuple[Level, ...]] = {KEY: (True, False), INSIDE: (True, "unset"), "additional_config.max_decode_steps": (4, 8)}
    check_levels(factors, KEYS)
    assert own_levels(factors, KEYS) == {KEY: False}
    engine = EngineSettings("m", "m", 16, 256, 16, 512, extra_engine_args={"additional_config": {"sharding": {"x": 1}}})
    found = engine.with_factors(((KEY, True), (INSIDE, True), ("additional_config.max_decode_steps", "unset")))
    assert found.extra_engine_args == {
        "additional_config": {"sharding": {"x": 1, "sharding_strategy": {"enable_dp_attention": True}}, "enable_sp": True}
    }
    assert engine.extra_engine_args == {"additional_config": {"sharding": {"x": 1}}}, "the given ones stay as they are"


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("additional_config.enable_sq", (True,), "tpu-inference reads no additional_config key enable_sq; did you mean enable_sp?"),
        ("additional_config.xyz.a", (1,), "no additional_config key xyz; known: sharding, enable_sp, max_decode_steps"),
        (KEY, ("yes",), "yes is not true or false"),
    ],
)
def test_keys_that_nobody_reads_are_refused_with_the_nearest(name: str, levels: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BadInput) as found:
        check_levels({name: levels}, KEYS)
    assert message in str(found.value)
    check_levels({name: levels}, {})  # without its source nobody knows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": {"additional_config.": [1]}}, "additional_config. names no key"),
        ({"factors": {KEY: [True]}, "engine_args": {"additional_config": {"enable_sp": False}}}, "enable_sp is also fixed by engine_args"),
        ({"factors": {KEY: [True]}, "launcher": "simulate", "accelerator": "v6e-1"}, "of which a simulation knows nothing"),
    ],
)
def test_keys_that_cannot_be_searched(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        config_of(**changes)
