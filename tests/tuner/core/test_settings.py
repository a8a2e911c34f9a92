"""One description of each setting, declared beside its field; whoever needs a list of settings derives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from tuner.core.contract import SETTINGS, EngineSettings, LiveSettings
from tuner.core.settings import Difference, Memory, Setting, declared_settings, merged_settings
from tuner.setup.config import StudyConfig

PLAIN = Setting(Difference.CONDITION, Memory.SAME, None)


@dataclass(frozen=True)
class Described:
    kv_cache_dtype: Annotated[str, PLAIN] = "auto"


@dataclass(frozen=True)
class WithANewField(Described):
    swap_space: int = 0


@dataclass(frozen=True)
class SaysSomethingElse:
    kv_cache_dtype: Annotated[str, Setting(Difference.NONE, Memory.SAME, None)] = "auto"


def test_a_new_setting_without_a_description_is_refused_by_name() -> None:
    assert declared_settings(Described) == {"kv_cache_dtype": PLAIN}
    with pytest.raises(TypeError, match=r"WithANewField\.swap_space declares no Setting"):
        declared_settings(WithANewField)


def test_two_descriptions_of_one_setting_are_refused() -> None:
    with pytest.raises(TypeError, match=r"SaysSomethingElse\.kv_cache_dtype"):
        merged_settings(Described, SaysSomethingElse)


def test_every_setting_that_a_person_can_ask_for_is_one_of_a_study() -> None:
    asked = {setting.study for setting in SETTINGS.values()} - {None}
    assert asked - StudyConfig.model_fields.keys() == set()


def test_page_size_budget_and_arm_are_what_a_study_compares() -> None:
    assert {name for name, setting in SETTINGS.items() if setting.difference is Difference.CELL} == {"block_size", "max_num_batched_tokens"}
    assert {name for name, setting in SETTINGS.items() if setting.difference is Difference.ARM} == {"arm", "alignable"}


def test_no_two_settings_write_the_same_argument_of_vllm() -> None:
    names = [
        setting.vllm
        for owner in (EngineSettings, LiveSettings)
        for setting in declared_settings(owner).values()
        if setting.vllm is not None
    ]
    shared = {name for name in names if names.count(name) > 1}
    assert shared == {"max_num_batched_tokens", "max_num_seqs"}  # live within what is compiled
