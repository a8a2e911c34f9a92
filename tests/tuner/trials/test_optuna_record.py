"""Optuna's tables in our database: what we tell is what anybody reads."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest
from optuna.trial import TrialState

from storage.base import StorageUnavailable
from storage.url import optuna_storage_arguments
from tests.tuner.workbench import config_of
from tuner.metrics.catalog import Direction
from tuner.setup.space import Configuration, build_space
from tuner.setup.vllm_defaults import VllmDefaults
from tuner.trials.optuna_record import OptunaRecord, delete_record

SPACE = build_space(config_of(), VllmDefaults(32, 2048))
POINT = Configuration(16, 256, "page_aligned")


@pytest.fixture
def record(study_url: str) -> Iterator[OptunaRecord]:
    opened = OptunaRecord(study_url, "s", [Direction.MAXIMIZE], SPACE.distributions())
    yield opened
    opened.close()


def read(url: str, name: str = "s") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=optuna.storages.RDBStorage(**optuna_storage_arguments(url))).get_trials()


@pytest.mark.slow
def test_a_trial_goes_from_running_to_complete(record: OptunaRecord, study_url: str) -> None:
    trial_id = record.begin(POINT.params)
    assert record.running() == [trial_id]
    record.complete(trial_id, [3.5], {"ttft_p99_ms<=500": -20.0})
    (trial,) = read(study_url)
    assert (trial.state, trial.value, trial.params) == (TrialState.COMPLETE, 3.5, POINT.params)
    assert trial.constraints == {"ttft_p99_ms<=500": -20.0}
    assert record.running() == []


@pytest.mark.slow
def test_telling_twice_changes_nothing(record: OptunaRecord, study_url: str) -> None:
    trial_id = record.begin(POINT.params)
    record.complete(trial_id, [3.5], {"slo": 1.0})
    record.complete(trial_id, [9.9], {"slo": 2.0})
    record.fail(trial_id)
    (trial,) = read(study_url)
    assert (trial.value, trial.constraints) == (3.5, {"slo": 1.0})


@pytest.mark.slow
def test_a_failed_trial_has_no_value(record: OptunaRecord, study_url: str) -> None:
    record.fail(record.begin(POINT.params))
    (trial,) = read(study_url)
    assert trial.state is TrialState.FAIL and trial.values is None


@pytest.mark.slow
def test_attributes_are_seen_by_others_at_once(record: OptunaRecord, study_url: str) -> None:
    other = OptunaRecord(study_url, "s", [Direction.MAXIMIZE], SPACE.distributions())
    assert other.attribute("a") is None
    record.set_attribute("a", {"b": 1})
    assert other.attribute("a") == {"b": 1}
    record.set_attribute("a", None)
    assert other.attribute("a") is None
    other.close()


@pytest.mark.slow
def test_directions_are_kept(study_url: str) -> None:
    OptunaRecord(study_url, "two", [Direction.MAXIMIZE, Direction.MINIMIZE], SPACE.distributions()).close()
    study = optuna.load_study(study_name="two", storage=optuna.storages.RDBStorage(**optuna_storage_arguments(study_url)))
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


@pytest.mark.slow
def test_a_record_that_a_restored_backup_does_not_have_is_one_line(record: OptunaRecord, study_url: str) -> None:
    trial_id = record.begin(POINT.params)
    delete_record(study_url, "s")
    for use in (
        lambda: record.complete(trial_id, [3.5], {}),
        lambda: record.fail(trial_id),
        lambda: record.set_attribute("x", 1),
        lambda: record.begin(POINT.params),
    ):
        with pytest.raises(StorageUnavailable, match=r"its record of this study is gone: was a backup restored\?$"):
            use()


def test_a_database_that_cannot_be_used_is_one_line(tmp_path: object) -> None:
    with pytest.raises(StorageUnavailable) as caught:
        OptunaRecord("sqlite:////nowhere/at/all/tuner.db", "s", [Direction.MAXIMIZE], SPACE.distributions())
    assert "\n" not in str(caught.value)
