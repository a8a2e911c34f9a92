"""Studies of earlier versions are read with what they lack; damage is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.records import Study
from tuner.core.errors import BadInput
from tuner.setup.config import Rounds, StudyConfig
from tuner.setup.stored_study import Resolved, StoredStudy, stored_config, was_launched_by

CONFIG = StudyConfig(study="s", model="m", rounds=Rounds(min=3, max=9), slos=("ttft_p99_ms<=500",), launcher="serve", seed=4)
RESOLVED = Resolved(max_model_len=512, max_num_seqs=16, workload_hash="abc")


def study(config: dict[str, Any]) -> Study:
    return Study(name="s", model="m", config=config, objective="throughput")


def test_what_a_study_was_begun_with_comes_back_as_it_was() -> None:
    stored = StoredStudy.from_record(study(json.loads(json.dumps(stored_config(CONFIG.to_json(), RESOLVED)))))
    assert stored.config(storage=CONFIG.storage) == CONFIG
    assert (stored.rounds, stored.resolved, stored.launcher, stored.seed) == (CONFIG.rounds, RESOLVED, "serve", 4)
    assert [str(slo) for slo in stored.slos] == ["ttft_p99_ms<=500"]


def test_a_study_of_an_earlier_version_says_nothing_about_what_it_lacks_and_may_have_more() -> None:
    stored = StoredStudy.from_record(study({"launcher": "local", "gone": {"setting": 1}, "resolved": {"also_gone": 2}}))
    assert (stored.rounds, stored.seed, stored.slos, stored.workload, stored.resolved) == (None, None, (), None, Resolved())
    assert "gone" not in stored.given
    assert stored.value("seed") == 0 and stored.value("chunk_budgets") == [512, 1024, 2048]  # what that version did
    assert stored.config().model == "m"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rounds": {"min": "three", "max": 9}}, "study 's': its stored setting rounds.min is damaged, 'three' is not a whole number"),
        ({"rounds": {"min": 3}}, "study 's': its stored setting rounds is damaged, {'min': 3} lacks min or max"),
        ({"slos": {"a": 1}}, "study 's': its stored setting slos is damaged"),
        ({"engine_args": []}, "study 's': its stored setting engine_args is damaged, [] is not a mapping of settings to values"),
        ({"engine_args": None}, "study 's': its stored setting engine_args is damaged"),
        ({"resolved": 7}, "study 's': its stored setting resolved is damaged"),
        ({"seed": "four"}, "study 's': its stored setting seed is damaged, 'four' is not a whole number"),
    ],
)
def test_a_damaged_configuration_is_refused_by_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        StoredStudy.from_record(study(config))
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("restore the database from a backup")


def test_damage_in_what_only_a_second_run_needs_does_not_hide_the_results() -> None:
    stored = StoredStudy.from_record(study({"launcher": "local", "page_sizes": "many"}))
    with pytest.raises(BadInput, match=r"setting page_sizes\S* is damaged"):
        stored.config()


def test_a_damaged_study_beside_it_does_not_stop_a_search() -> None:
    assert was_launched_by(study({"launcher": "local"}), "local")
    assert not was_launched_by(study({"launcher": "local", "rounds": []}), "local")
