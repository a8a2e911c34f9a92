"""The configuration refuses what cannot work, naming the setting and the fix in one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.core.contract import ARMS
from tuner.core.errors import BadInput
from tuner.setup.config import (
    STUDY_SETTINGS,
    StudyConfig,
    check_config,
    parse_duration,
    study_settings,
    untested_settings,
)
from tuner.setup.config_file import load_config
from tuner.stats.sequential import InterimPlan

BASE: dict[str, Any] = {"model": "tiny-qwen3", "study": "s"}


def config(**changes: Any) -> StudyConfig:
    return load_config(None, {**BASE, **changes})


def test_the_defaults_are_a_valid_configuration() -> None:
    assert config().arms == ARMS
    assert config().sampler == "auto"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"page_sizes": [16, 48]}, "page_sizes: 48 is not a power of two; use 32 or 64"),
        ({"page_sizes": [256], "chunk_budgets": [128]}, "page_sizes: 256 is above the chunk budget 128"),
        ({"page_sizes": [64], "chunk_budgets": [96], "alignment_variant": "strict"}, "page_sizes: 64 does not divide the chunk budget 96"),
        ({"page_sizes": [16, 16]}, "page_sizes: 16 is there twice"),
        ({"chunk_budgets": [512, 512]}, "chunk_budgets: 512 is there twice"),
        ({"arms": ["aligned"]}, "arms: 'aligned' is unknown; use default or page_aligned"),
        ({"study": "a/b"}, "study 'a/b': use 1 to 100 letters"),
        ({"study": "../x"}, "study '../x'"),
        ({"study": ""}, "study ''"),
        ({"max_num_seqs": 1024}, "max_num_seqs 1024 is above the chunk budget 512"),
        ({"rounds": "5-3"}, "rounds: min 5 is above max 3"),
        ({"rounds": "1-3"}, "rounds: min 1 says nothing"),
        ({"rounds": "3-100000"}, "rounds: 100000 is above 500; lower it"),
        ({"objective": "speed"}, "objective: metric 'speed' is unknown"),
        ({"slos": ["ttft_p99_ms=500"]}, "slos: SLO 'ttft_p99_ms=500' cannot be read"),
        ({"objective": "goodput"}, "objective goodput needs a latency SLO"),
        ({"engine_args": {"data-parallel-size": 2}}, "engine_args: data-parallel-size 2 (data parallelism)"),
        ({"engine_args": {"speculative_config": {"method": "ngram"}}}, "engine_args: speculative_config (speculative decoding)"),
        ({"engine_args": {"kv_transfer_config": {"kv_connector": "x"}}}, "engine_args: kv_transfer_config (KV connectors)"),
        ({"engine_args": {"block_size": 32}}, "engine_args: block_size is set by the search; use the setting page_sizes"),
        ({"engine_args": {"scheduler-cls": "x"}}, "engine_args: scheduler-cls is set by the search; use the setting arms"),
        (
            {"engine_args": {"additional_config": {"sharding": {"sharding_strategy": {"enable_dp_attention": True}}}}},
            "engine_args: additional_config enable_dp_attention",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        config(**changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_page_above_the_budget_is_fine_without_alignment() -> None:
    assert config(page_sizes=[256], chunk_budgets=[128], arms=["default"]).page_sizes == (256,)


def test_a_new_setting_of_a_study_must_say_whether_it_may_change_on_resume() -> None:
    class WithANewSetting(StudyConfig):
        priority: int = 0

    with pytest.raises(TypeError, match=r"WithANewSetting\.priority declares no StudySetting"):
        study_settings(WithANewSetting)


def test_what_is_measured_stays_when_a_study_is_resumed() -> None:
    assert {name for name, setting in STUDY_SETTINGS.items() if setting.resumable} == {
        *("study", "storage", "logdir", "table", "engine_python", "foresight", "ray_address", "ray_resources", "ray_runtime_env"),
        *("trials", "time_budget", "profile", "trial_timeout", "engine_start_timeout", "warm_start"),
    }


def test_harmless_values_of_refused_settings_pass() -> None:
    harmless = {"data_parallel_size": 1, "speculative_config": None, "gpu_memory_utilization": 0.5}
    assert config(engine_args=harmless).engine_args == harmless


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), (" 2m ", 120), (45, 45), (0.5, 0.5)]
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_every_way_to_write_a_duration_is_read(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "-5m", "m", "1h-3m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--time-budget"):
        config(time_budget=text)


@pytest.mark.parametrize(("value", "expected"), [(4, (4, 4)), ("4", (4, 4)), ("3-12", (3, 12)), ({"min": 2, "max": 9}, (2, 9))])
def test_rounds(value: Any, expected: tuple[int, int]) -> None:
    assert (config(rounds=value).rounds.min, config(rounds=value).rounds.max) == expected


def test_rounds_are_adaptive_by_default_and_a_finalist_gets_a_few() -> None:
    default = config().rounds
    assert default.min < default.max and (default.min, default.max) == (InterimPlan().first, InterimPlan().last)
    assert [config(rounds=value).rounds.of_a_finalist for value in ("3-24", "3-4", 2, 9)] == [6, 4, 2, 9]


def test_to_json_round_trips_and_hides_the_database() -> None:
    first = config(slos=["ttft_p99_ms<=500"], time_budget="10m", storage="postgresql://u:secret@h/d")
    document = first.to_json()
    assert "storage" not in document and "secret" not in str(document)
    assert load_config(None, {**document, "storage": first.storage}) == first


def test_untested_settings_are_named_where_page_alignment_is_searched() -> None:
    lora = {"enable_lora": True}
    assert untested_settings(config(), multimodal=False) == []
    assert "LoRA" in untested_settings(config(engine_args=lora), multimodal=False)[0]
    assert "multimodal" in untested_settings(config(), multimodal=True)[0]
    assert untested_settings(config(arms=["default"], engine_args=lora), multimodal=True) == []


def test_check_config_is_what_load_config_asks() -> None:
    with pytest.raises(BadInput, match="power of two"):
        check_config(StudyConfig(model="m", study="s", page_sizes=(24,)))


@pytest.mark.parametrize("given", ["TPU=4, CPU=8", {"TPU": 4, "CPU": "8"}])
def test_resources_are_read(given: Any) -> None:
    assert config(launcher="ray", ray_resources=given).ray_resources == {"TPU": 4.0, "CPU": 8.0}


@pytest.mark.parametrize("given", ["TPU", "TPU=four", "=4", "TPU=0", "TPU=-1", "", {}, {"TPU": True}])
def test_what_are_no_resources_is_refused(given: Any) -> None:
    with pytest.raises(BadInput, match=r"ray_resources|ray-resources"):
        config(launcher="ray", ray_resources=given)
