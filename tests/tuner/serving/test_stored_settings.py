"""Trials of earlier versions are read with what they lack; damage is named."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from storage.records import Trial
from tests.tuner.evidence_builder import REQUESTED, StudyBuilder
from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput
from tuner.core.factors import LONG_PREFILL
from tuner.serving.stored_settings import conditions_of, measured_engine_of, measured_kv_write, requested_settings, settings_of

ENGINE = EngineSettings(
    "m", "models/m", block_size=64, max_num_batched_tokens=2048, max_num_seqs=16, max_model_len=512, extra_engine_args={"swap_space": 2}
)
PARAMS = {"block_size": 64, "max_num_batched_tokens": 512, "arm": "default"}


def trial(requested: dict[str, Any]) -> Trial:
    return replace(StudyBuilder().trial("default", 64, 512), requested=requested)


def test_what_a_trial_was_measured_under_comes_back_as_it_was() -> None:
    stored = trial(requested_settings(asdict(ENGINE), PARAMS))
    assert measured_engine_of(stored) == ENGINE
    assert settings_of(stored) == ENGINE.with_changes(max_num_batched_tokens=512)


def test_a_live_threshold_is_a_flag_of_the_trial_and_no_condition_of_its_pairs() -> None:
    """Measured in an engine that knew nothing of it, or, in earlier versions and for finalists, in one that was started with it."""
    params, levels = {**PARAMS, LONG_PREFILL: 64}, {LONG_PREFILL: 64}
    live = replace(trial(requested_settings(asdict(ENGINE), params)), factors=levels)
    cold = replace(trial(requested_settings(asdict(ENGINE.with_factors(((LONG_PREFILL, 64),))), params)), factors=levels)
    assert measured_engine_of(live) == ENGINE and measured_engine_of(cold) != ENGINE
    assert settings_of(live) == settings_of(cold) and settings_of(live).extra_engine_args == {"swap_space": 2, LONG_PREFILL: 64}
    assert conditions_of(live) == conditions_of(cold)
    assert settings_of(replace(live, factors={LONG_PREFILL: "unset"})).extra_engine_args == {"swap_space": 2}


def test_a_trial_of_an_earlier_version_had_what_are_now_the_defaults_and_settings_that_are_gone() -> None:
    old = trial({"model": "m", "model_path": "p", "max_num_seqs": 16, "max_model_len": 512, "swap_policy": "lru"})
    assert settings_of(old) == EngineSettings("m", "p", block_size=64, max_num_batched_tokens=512, max_num_seqs=16, max_model_len=512)
    assert measured_engine_of(old).max_num_batched_tokens == 512


def test_a_resumed_study_of_an_earlier_version_keeps_its_pairs() -> None:
    """A setting that came with an update must not tell the windows before it from those after it."""
    before = trial({name: value for name, value in REQUESTED.items() if name != "kv_write"})
    assert conditions_of(before) == conditions_of(trial(REQUESTED))
    assert conditions_of(before) != conditions_of(trial({**REQUESTED, "kv_write": "loop,loop"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"max_num_seqs": None}, r"trial 0: .*damaged, max_num_seqs cannot be None"),
        ({"max_model_len": "512"}, r"trial 0: .*damaged, max_model_len cannot be '512'"),
        ({"enable_prefix_caching": 1}, r"trial 0: .*damaged, enable_prefix_caching cannot be 1"),
        ({"extra_engine_args": []}, r"trial 0: .*damaged, extra_engine_args cannot be \[\]"),
    ],
)
def test_damaged_settings_are_refused_by_name(damage: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        settings_of(trial({**REQUESTED, **damage}))


def test_incomplete_settings_are_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match="trial 0: its stored settings are incomplete, max_num_seqs is missing"):
        settings_of(trial({"model": "m", "model_path": "m"}))


@pytest.mark.parametrize(("stored", "pair"), [("loop,scatter", "loop,scatter"), (None, None), ("loop", None), (3, None)])
def test_only_a_pair_of_implementations_was_measured(stored: object, pair: str | None) -> None:
    assert measured_kv_write(replace(StudyBuilder().trial(), effective={"kv_write": stored})) == pair
    assert measured_kv_write(StudyBuilder().trial()) is None
