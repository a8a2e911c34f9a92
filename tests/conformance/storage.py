"""The storage contract as tests. A subclass provides the fixture `storage`: an open, empty storage."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from storage.base import Conflict, InvalidRecord, NotFound, Storage
from storage.records import Stage, StudyState, TrialState
from tests.storage.builders import (
    ANNA,
    a_comparison,
    a_lease,
    a_measurement,
    a_profile,
    a_recommendation,
    a_study,
    a_trial,
    a_workload,
    an_environment,
    stored_study,
    stored_trial,
)

MISSING = 999_999
VALUES = {"output_token_throughput": 123.5}


def assert_one_line(raised: pytest.ExceptionInfo[Exception], *words: str) -> None:
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message


class StudyContract:
    def test_a_study_comes_back_as_it_was_stored(self, storage: Storage) -> None:
        config = {"z": [1, 2.5, None, True], "a": {"nested": "värde"}, "large": 1e22}
        before = time.time()
        stored = storage.create_study(a_study(config=config, model_features={"layers": 2}))
        assert stored.id > 0
        assert before <= stored.created_at <= time.time()
        assert stored.updated_at == stored.created_at
        assert replace(stored, id=0, created_at=0.0, updated_at=0.0) == a_study(config=config, model_features={"layers": 2})
        assert list(stored.config) == ["z", "a", "large"]
        assert storage.get_study("first") == storage.get_study_by_id(stored.id) == stored
        assert isinstance(stored.state, StudyState)

    def test_a_stored_record_shares_nothing_with_what_was_given(self, storage: Storage) -> None:
        config: dict[str, Any] = {"inner": {"trials": 4}}
        stored = storage.create_study(a_study(config=config))
        config["inner"]["trials"] = 5
        assert stored.config == storage.get_study("first").config == {"inner": {"trials": 4}}

    def test_a_study_name_is_unique(self, storage: Storage) -> None:
        storage.create_study(a_study())
        with pytest.raises(Conflict) as raised:
            storage.create_study(a_study(model="other"))
        assert_one_line(raised, "first")
        assert storage.count_studies() == 1

    @pytest.mark.parametrize("name", ["", "x" * 256])
    def test_a_study_name_has_a_length(self, storage: Storage, name: str) -> None:
        with pytest.raises(InvalidRecord):
            storage.create_study(a_study(name=name))
        assert storage.count_studies() == 0

    def test_unknown_studies(self, storage: Storage) -> None:
        for call in (
            lambda: storage.get_study("nobody"),
            lambda: storage.get_study_by_id(MISSING),
            lambda: storage.update_study(MISSING, state=StudyState.FAIL),
            lambda: storage.delete_study(MISSING, by=ANNA),
            lambda: storage.replace_comparisons(MISSING, []),
            lambda: storage.replace_comparisons(MISSING, [a_comparison(MISSING)]),
        ):
            with pytest.raises(NotFound) as raised:
                call()
            assert_one_line(raised)
        assert list(storage.list_trials(MISSING)) == []
        assert set(storage.count_trials(MISSING).values()) == {0}
        assert storage.count_trials_of([]) == {}
        assert set(storage.count_trials_of([MISSING])[MISSING].values()) == {0}

    def test_studies_are_listed_newest_first_and_filtered(self, storage: Storage) -> None:
        for place, (name, model) in enumerate([("a", "m1"), ("b", "m2"), ("c", "m1"), ("d", "m1")]):
            storage.create_study(a_study(name=name, model=model, created_at=100.0 + place % 3))
        storage.update_study(storage.get_study("d").id, state=StudyState.COMPLETE)
        assert [study.name for study in storage.list_studies()] == ["c", "b", "d", "a"]
        assert [study.name for study in storage.list_studies(model="m1")] == ["c", "d", "a"]
        assert [study.name for study in storage.list_studies(model="m1", state=StudyState.RUNNING)] == ["c", "a"]
        assert [study.name for study in storage.list_studies(limit=2, offset=1)] == ["b", "d"]
        assert storage.list_studies(limit=0) == []
        assert storage.count_studies() == 4
        assert storage.count_studies(model="m1") == 3
        assert storage.count_studies(model="m1", state=StudyState.COMPLETE) == 1
        with pytest.raises(InvalidRecord):
            storage.list_studies(limit=-1)

    def test_update_replaces_the_named_fields_only(self, storage: Storage) -> None:
        study = storage.create_study(a_study(cost={"start_s": 1.0}, updated_at=5.0))
        updated = storage.update_study(study.id, engine_starts=3)
        assert replace(updated, updated_at=0.0) == replace(study, engine_starts=3, updated_at=0.0)
        assert updated.updated_at > 5.0
        updated = storage.update_study(study.id, state=StudyState.INTERRUPTED, cost={"measure_s": 2})
        assert (updated.state, updated.cost, updated.engine_starts) == (StudyState.INTERRUPTED, {"measure_s": 2}, 3)
        with pytest.raises(InvalidRecord):
            storage.update_study(study.id, engine_starts=-1)
        assert storage.get_study("first") == updated

    def test_a_study_is_held_by_the_lease_that_was_put_in_anothers_place(self, storage: Storage) -> None:
        study = storage.create_study(a_study())
        first, second = a_lease(study.id, "t1"), a_lease(study.id, "t2", heartbeat=2000.5, host="there")
        assert storage.get_lease(study.id) is None
        assert not storage.swap_lease(study.id, "t1", first), "nobody holds it"
        assert storage.swap_lease(study.id, None, first)
        assert not storage.swap_lease(study.id, None, second), "it is held"
        assert not storage.swap_lease(study.id, "t2", second), "not by this one"
        assert storage.get_lease(study.id) == first
        assert storage.swap_lease(study.id, "t1", second)
        assert storage.get_lease(study.id) == second
        assert not storage.swap_lease(study.id, "t1", None), "it was taken over"
        assert storage.swap_lease(study.id, "t2", None)
        assert storage.get_lease(study.id) is None

    def test_a_lease_is_of_a_study_that_there_is_and_of_no_other(self, storage: Storage) -> None:
        study = storage.create_study(a_study())
        assert storage.get_lease(MISSING) is None
        with pytest.raises(NotFound) as raised:
            storage.swap_lease(MISSING, None, a_lease(MISSING))
        assert_one_line(raised, str(MISSING))
        with pytest.raises(InvalidRecord):
            storage.swap_lease(study.id, None, a_lease(study.id + 1))
        with pytest.raises(InvalidRecord):
            storage.swap_lease(study.id, None, a_lease(study.id, token=""))
        assert storage.get_lease(study.id) is None

    def test_delete_takes_everything_of_the_study_and_nothing_else(self, storage: Storage) -> None:
        study, other = stored_study(storage), storage.create_study(a_study(name="other"))
        kept = storage.create_trial(a_trial(other.id))
        kept_measurement = storage.add_measurement(a_measurement(kept.id))
        trial = storage.create_trial(a_trial(study.id))
        storage.add_measurement(a_measurement(trial.id))
        assert storage.swap_lease(study.id, None, a_lease(study.id))
        storage.add_profile(a_profile(trial.id))
        storage.replace_comparisons(study.id, [a_comparison(study.id, baseline_trial_id=trial.id, candidate_trial_id=trial.id)])
        recommendation = storage.add_recommendation(a_recommendation(study.id))
        storage.delete_study(study.id, by=ANNA)
        assert [left.name for left in storage.list_studies()] == ["other"]
        for call in (lambda: storage.get_trial(trial.id), lambda: storage.get_recommendation(recommendation.id)):
            with pytest.raises(NotFound):
                call()
        assert not storage.list_measurements(trial_id=trial.id)
        assert storage.get_lease(study.id) is None
        assert not storage.list_profiles(trial_id=trial.id)
        assert not storage.list_comparisons(study.id)
        assert storage.get_trial(kept.id) == kept
        assert list(storage.list_measurements(trial_id=kept.id)) == [kept_measurement]
        assert storage.get_workload(kept.workload_hash) == a_workload()

    def test_an_id_is_never_given_twice(self, storage: Storage) -> None:
        first = storage.create_study(a_study())
        storage.delete_study(first.id, by=ANNA)
        assert storage.create_study(a_study()).id > first.id


class ContentContract:
    def test_environments_and_workloads_are_stored_once(self, storage: Storage) -> None:
        for _ in range(2):
            storage.put_environment(an_environment(details={"cores": 2}))
            storage.put_workload(a_workload())
        assert storage.get_environment(an_environment().fingerprint) == an_environment(details={"cores": 2})
        assert storage.get_workload(a_workload().content_hash) == a_workload()

    def test_unknown_environments_and_workloads(self, storage: Storage) -> None:
        with pytest.raises(NotFound):
            storage.get_environment("nope")
        with pytest.raises(NotFound):
            storage.get_workload("nope")

    def test_an_environment_has_devices(self, storage: Storage) -> None:
        with pytest.raises(InvalidRecord):
            storage.put_environment(an_environment(device_count=0))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float64("nan"), {1: 2}, {"x"}, object()])
    def test_json_holds_only_what_json_can(self, storage: Storage, bad: object) -> None:
        with pytest.raises(InvalidRecord) as raised:
            storage.put_workload(a_workload(spec={"outer": [0, {"inner": bad}]}))
        assert_one_line(raised, "outer", "[1]", "inner")
        with pytest.raises(NotFound):
            storage.get_workload(a_workload().content_hash)

    def test_numpy_numbers_and_hostile_text_become_plain(self, storage: Storage) -> None:
        spec = {"count": np.int64(3), "share": np.float32(0.5), "on": np.bool_(True), "pair": (1, 2), "text": "a\x00b\ud800c"}
        storage.put_workload(a_workload(spec=spec))
        expected = {"count": 3, "share": 0.5, "on": True, "pair": [1, 2], "text": "a\ufffdb\ufffdc"}
        assert storage.get_workload(a_workload().content_hash).spec == expected


class TrialContract:
    def test_a_trial_comes_back_as_it_was_stored(self, storage: Storage) -> None:
        study = stored_study(storage)
        given = a_trial(study.id, 7, arm="page_aligned", stage=Stage.CONFIRM, optuna_trial_id=3, notes={"why": "finalist"})
        stored = storage.create_trial(given)
        assert stored.id > 0
        assert stored.created_at > 0
        assert replace(stored, id=0, created_at=0.0) == given
        assert storage.get_trial(stored.id) == stored
        assert isinstance(stored.stage, Stage)
        assert isinstance(stored.state, TrialState)

    def test_what_a_trial_refers_to_must_be_stored(self, storage: Storage) -> None:
        study = stored_study(storage)
        for trial in (a_trial(MISSING), a_trial(study.id, workload_hash="nope"), a_trial(study.id, environment="nope")):
            with pytest.raises(NotFound) as raised:
                storage.create_trial(trial)
            assert_one_line(raised, "trial 0")
        assert not storage.list_trials(study.id)

    def test_a_number_is_unique_in_its_study(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        other = storage.create_study(a_study(name="other"))
        storage.create_trial(a_trial(other.id))
        with pytest.raises(Conflict):
            storage.create_trial(a_trial(trial.study_id))

    @pytest.mark.parametrize(
        "changes", [{"number": -1}, {"arm": "sideways"}, {"block_size": 0}, {"max_num_batched_tokens": 0}, {"block_size": 2**70}]
    )
    def test_impossible_trials_are_refused(self, storage: Storage, changes: dict[str, Any]) -> None:
        study = stored_study(storage)
        with pytest.raises(InvalidRecord) as raised:
            storage.create_trial(replace(a_trial(study.id), **changes))
        assert_one_line(raised)

    @pytest.mark.parametrize(
        "changes",
        [{"state": TrialState.COMPLETE}, {"state": TrialState.FAIL}, {"values": VALUES}, {"error_class": "timeout"}, {"finished_at": 1.0}],
    )
    def test_a_trial_is_not_born_finished(self, storage: Storage, changes: dict[str, Any]) -> None:
        study = stored_study(storage)
        with pytest.raises(Conflict):
            storage.create_trial(a_trial(study.id, **changes))

    def test_trials_are_listed_by_number_and_filtered(self, storage: Storage) -> None:
        study = stored_study(storage)
        arms, stages = ("default", "page_aligned"), (Stage.SEARCH, Stage.CONFIRM)
        for number in (3, 1, 2, 0):
            storage.create_trial(a_trial(study.id, number, arm=arms[number % 2], stage=stages[number // 2]))
        storage.start_trial(next(trial.id for trial in storage.list_trials(study.id) if trial.number == 2))

        def numbers(**filters: Any) -> list[int]:
            return [trial.number for trial in storage.list_trials(study.id, **filters)]

        assert numbers() == [0, 1, 2, 3]
        assert numbers(arm="page_aligned") == [1, 3]
        assert numbers(stage=Stage.CONFIRM) == [2, 3]
        assert numbers(state=TrialState.WAITING) == [0, 1, 3]
        assert numbers(state=TrialState.WAITING, arm="default", stage=Stage.SEARCH) == [0]
        assert numbers(limit=2, offset=1) == [1, 2]
        assert numbers(offset=3) == [3]
        assert storage.count_trials(study.id) == {state: {"WAITING": 3, "RUNNING": 1}.get(state, 0) for state in TrialState}
        other = storage.create_study(a_study(name="other"))
        storage.create_trial(a_trial(other.id))
        assert storage.count_trials_of([other.id, study.id]) == {item.id: storage.count_trials(item.id) for item in (study, other)}
        assert storage.count_trials(other.id)[TrialState.WAITING] == 1

    def test_starting_fills_in_what_is_known_by_then(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        started = storage.start_trial(trial.id, environment=an_environment().fingerprint)
        assert started.state is TrialState.RUNNING
        assert started.started_at is not None
        assert started.started_at >= trial.created_at
        again = storage.start_trial(trial.id, effective={"block_size": 64})
        assert again == replace(started, effective={"block_size": 64})
        with pytest.raises(NotFound):
            storage.start_trial(trial.id, environment="nope")
        with pytest.raises(NotFound):
            storage.start_trial(MISSING)
        assert storage.get_trial(trial.id) == again

    def test_notes_are_put_in_the_place_of_those_before(self, storage: Storage) -> None:
        trial = stored_trial(storage, notes={"first_round": 3})
        noted = storage.note_trial(trial.id, {"attempts": [{"host": "a"}]})
        assert noted == replace(trial, notes={"attempts": [{"host": "a"}]}) == storage.get_trial(trial.id)
        with pytest.raises(NotFound):
            storage.note_trial(MISSING, {})

    def test_a_trial_may_be_created_running(self, storage: Storage) -> None:
        trial = stored_trial(storage, state=TrialState.RUNNING)
        assert trial.started_at is not None


class GateContract:
    def test_complete_keeps_values(self, storage: Storage) -> None:
        trial = storage.start_trial(stored_trial(storage).id)
        finished = storage.finish_trial(trial.id, TrialState.COMPLETE, values=VALUES | {"n": np.float64(2)}, notes={"rounds": 3})
        assert (finished.state, finished.values, finished.notes) == (TrialState.COMPLETE, VALUES | {"n": 2.0}, {"rounds": 3})
        assert finished.finished_at is not None
        assert finished.finished_at >= trial.created_at
        assert storage.get_trial(trial.id) == finished

    def test_fail_keeps_the_reason(self, storage: Storage) -> None:
        trial = stored_trial(storage, notes={"kept": True})
        finished = storage.finish_trial(
            trial.id, TrialState.FAIL, error_class="out_of_memory", error_message="HBM\x00 full", log_excerpt="line 1\nline 2 \udcff"
        )
        assert (finished.state, finished.values, finished.error_class) == (TrialState.FAIL, None, "out_of_memory")
        assert (finished.error_message, finished.log_excerpt) == ("HBM\ufffd full", "line 1\nline 2 \ufffd")
        assert finished.notes == {"kept": True}

    def test_pruned_keeps_what_was_seen(self, storage: Storage) -> None:
        seen = storage.finish_trial(stored_trial(storage, 0).id, TrialState.PRUNED, values=VALUES, error_message="cannot win")
        unseen = storage.finish_trial(stored_trial(storage, 1).id, TrialState.PRUNED)
        assert (seen.values, unseen.values) == (VALUES, None)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("inf"), None, "12", True])
    @pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
    def test_no_value_but_a_finite_number_passes(self, storage: Storage, state: TrialState, bad: object) -> None:
        trial = storage.start_trial(stored_trial(storage).id)
        with pytest.raises(Conflict) as raised:
            storage.finish_trial(trial.id, state, values=VALUES | {"latency": bad})
        assert_one_line(raised, "latency", f"trial {trial.id}")
        assert storage.get_trial(trial.id) == trial

    @pytest.mark.parametrize(
        ("state", "outcome"),
        [
            (TrialState.COMPLETE, {}),
            (TrialState.COMPLETE, {"values": {}}),
            (TrialState.COMPLETE, {"values": VALUES, "error_class": "timeout"}),
            (TrialState.FAIL, {}),
            (TrialState.FAIL, {"error_class": ""}),
            (TrialState.FAIL, {"error_class": "timeout", "values": VALUES}),
            (TrialState.FAIL, {"error_class": "timeout", "values": {}}),
            (TrialState.WAITING, {}),
            (TrialState.RUNNING, {}),
        ],
    )
    def test_contradictions_do_not_pass(self, storage: Storage, state: TrialState, outcome: dict[str, Any]) -> None:
        trial = storage.start_trial(stored_trial(storage).id)
        with pytest.raises(Conflict) as raised:
            storage.finish_trial(trial.id, state, **outcome)
        assert_one_line(raised, f"trial {trial.id}")
        assert storage.get_trial(trial.id) == trial

    @pytest.mark.parametrize("first", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
    def test_a_finished_trial_never_changes(self, storage: Storage, first: TrialState) -> None:
        outcome: dict[str, Any] = {"error_class": "timeout"} if first is TrialState.FAIL else {"values": VALUES}
        trial = stored_trial(storage)
        finished = storage.finish_trial(trial.id, first, **outcome)
        calls: list[Callable[[], object]] = [
            lambda: storage.finish_trial(trial.id, TrialState.COMPLETE, values=VALUES),
            lambda: storage.finish_trial(trial.id, TrialState.FAIL, error_class="internal"),
            lambda: storage.finish_trial(trial.id, first, **outcome),
            lambda: storage.start_trial(trial.id, effective={"changed": True}),
            lambda: storage.note_trial(trial.id, {"changed": True}),
        ]
        for call in calls:
            with pytest.raises(Conflict) as raised:
                call()
            assert_one_line(raised, first, "finished")
        assert storage.get_trial(trial.id) == finished

    def test_an_unknown_trial_cannot_be_finished(self, storage: Storage) -> None:
        with pytest.raises(NotFound):
            storage.finish_trial(MISSING, TrialState.FAIL, error_class="internal")
        with pytest.raises(NotFound):
            storage.get_trial(MISSING)
