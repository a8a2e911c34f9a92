"""The storage contract as tests, second part: measurements, profiles, comparisons, recommendations, the database itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from storage.base import Conflict, InvalidRecord, NotFound, Storage
from storage.records import Actor, RecommendationKey, TrialState
from tests.conformance.storage import MISSING, ContentContract, GateContract, StudyContract, TrialContract, assert_one_line
from tests.conformance.storage_access import AccessContract
from tests.storage.builders import (
    ANNA,
    a_comparison,
    a_measurement,
    a_profile,
    a_recommendation,
    a_study,
    a_trial,
    a_workload,
    stored_study,
    stored_trial,
)


class MeasurementContract:
    def test_a_measurement_comes_back(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        stored = storage.add_measurement(a_measurement(trial.id, details={"steps": 9}))
        assert stored == a_measurement(trial.id, details={"steps": 9}, id=stored.id)
        assert list(storage.list_measurements(trial_id=trial.id)) == [stored]

    def test_measurements_are_counted_by_study(self, storage: Storage) -> None:
        trial, other = stored_trial(storage), storage.create_study(a_study(name="other"))
        second = storage.create_trial(a_trial(trial.study_id, 1))
        for measured, changes in ((trial, {}), (trial, {"valid": False, "invalid_reason": "busy"}), (second, {"round": 1})):
            storage.add_measurement(a_measurement(measured.id, **changes))
        assert storage.count_measurements_of([other.id, trial.study_id, MISSING]) == {other.id: 0, trial.study_id: 3, MISSING: 0}
        assert storage.count_measurements_of([]) == {}

    def test_windows_and_seconds_are_counted_by_trial(self, storage: Storage) -> None:
        trial, other = stored_trial(storage), storage.create_study(a_study(name="other"))
        second, _waiting = (storage.create_trial(a_trial(trial.study_id, number)) for number in (1, 2))
        elsewhere = storage.create_trial(a_trial(other.id, 0))
        for measured, changes in (
            (trial, {}),
            (trial, {"round": 1, "valid": False, "invalid_reason": "busy"}),
            (second, {}),
            (elsewhere, {}),
        ):
            storage.add_measurement(a_measurement(measured.id, duration_s=0.5 + len(changes), **changes))
        assert storage.measured_by_trial(trial.study_id) == {trial.id: (2, 4.0), second.id: (1, 0.5)}
        assert storage.measured_by_trial(MISSING) == {}

    def test_an_unknown_trial_has_no_measurement(self, storage: Storage) -> None:
        with pytest.raises(NotFound) as raised:
            storage.add_measurement(a_measurement(MISSING))
        assert_one_line(raised, str(MISSING))

    @pytest.mark.parametrize(
        "changes",
        [
            {"round": -1},
            {"position": -1},
            {"duration_s": -0.1},
            {"duration_s": math.inf},
            {"duration_s": math.nan},
            {"metrics": {"ttft_p99_ms": math.nan}},
            {"valid": False},
            {"valid": False, "invalid_reason": ""},
            {"valid": True, "invalid_reason": "drifted"},
        ],
    )
    def test_impossible_windows_are_refused(self, storage: Storage, changes: dict[str, Any]) -> None:
        trial = stored_trial(storage)
        with pytest.raises(InvalidRecord) as raised:
            storage.add_measurement(a_measurement(trial.id, **changes))
        assert_one_line(raised)
        assert not storage.list_measurements(trial_id=trial.id)

    def test_invalid_windows_are_kept_with_their_reason(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        born = storage.add_measurement(a_measurement(trial.id, valid=False, invalid_reason="recompiled"))
        later = storage.add_measurement(a_measurement(trial.id, position=1))
        marked = storage.invalidate_measurement(later.id, "drifted")
        assert marked == replace(later, valid=False, invalid_reason="drifted")
        assert list(storage.list_measurements(trial_id=trial.id)) == [born, marked]
        with pytest.raises(NotFound):
            storage.invalidate_measurement(MISSING, "drifted")
        with pytest.raises(InvalidRecord):
            storage.invalidate_measurement(later.id, "")

    def test_measurements_are_listed_by_trial_number_round_position(self, storage: Storage) -> None:
        study, other = stored_study(storage), storage.create_study(a_study(name="other"))
        second, first = (storage.create_trial(a_trial(study.id, number)) for number in (1, 0))
        elsewhere = storage.create_trial(a_trial(other.id))
        storage.add_measurement(a_measurement(elsewhere.id))
        for trial, round_, position in ((second, 0, 0), (first, 1, 0), (first, 0, 1), (first, 0, 0)):
            storage.add_measurement(a_measurement(trial.id, round=round_, position=position))
        order = [(m.trial_id, m.round, m.position) for m in storage.list_measurements(study_id=study.id)]
        assert order == [(first.id, 0, 0), (first.id, 0, 1), (first.id, 1, 0), (second.id, 0, 0)]
        assert [m.round for m in storage.list_measurements(trial_id=first.id)] == [0, 0, 1]
        assert not storage.list_measurements(study_id=MISSING)

    def test_exactly_one_id(self, storage: Storage) -> None:
        for ids in ({}, {"trial_id": 1, "study_id": 1}):
            with pytest.raises(ValueError, match="exactly one"):
                storage.list_measurements(**ids)
            with pytest.raises(ValueError, match="exactly one"):
                storage.list_profiles(**ids)


class ProfileContract:
    def test_a_profile_comes_back(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        stored = storage.add_profile(a_profile(trial.id))
        assert stored.created_at > 0
        assert replace(stored, id=0, created_at=0.0) == a_profile(trial.id)
        assert list(storage.list_profiles(trial_id=trial.id)) == [stored]
        with pytest.raises(InvalidRecord):
            storage.add_profile(a_profile(trial.id, phase="decode", status="fine"))

    def test_a_profile_is_stored_once(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        storage.add_profile(a_profile(trial.id))
        storage.add_profile(a_profile(trial.id, phase="decode"))
        with pytest.raises(Conflict):
            storage.add_profile(a_profile(trial.id, size_bytes=1))

    @pytest.mark.parametrize("changes", [{"phase": "lunch"}, {"size_bytes": -1}, {"status": "fine"}])
    def test_impossible_profiles_are_refused(self, storage: Storage, changes: dict[str, Any]) -> None:
        trial = stored_trial(storage)
        with pytest.raises(InvalidRecord):
            storage.add_profile(a_profile(trial.id, **changes))

    def test_profiles_are_listed_by_trial_number(self, storage: Storage) -> None:
        second, first = stored_trial(storage, 1), stored_trial(storage, 0)
        profiles = [storage.add_profile(a_profile(trial.id, phase=phase)) for trial in (second, first) for phase in ("prefill", "decode")]
        assert list(storage.list_profiles(study_id=first.study_id)) == [*profiles[2:], *profiles[:2]]
        assert list(storage.list_profiles(trial_id=second.id)) == profiles[:2]
        with pytest.raises(NotFound):
            storage.add_profile(a_profile(MISSING))


class VerdictContract:
    def test_comparisons_are_replaced_as_a_whole(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        study_id = trial.study_id
        other = storage.create_study(a_study(name="other"))
        kept = storage.replace_comparisons(other.id, [a_comparison(other.id)])
        storage.replace_comparisons(study_id, [a_comparison(study_id, block_size=size) for size in (16, 32, 64)])
        new = [a_comparison(study_id, block_size=128, baseline_trial_id=trial.id, details={"drift": 0.1}), a_comparison(study_id)]
        stored = storage.replace_comparisons(study_id, new)
        assert [replace(comparison, id=0, created_at=0.0) for comparison in stored] == new
        assert all(comparison.id > 0 and comparison.created_at > 0 for comparison in stored)
        assert list(storage.list_comparisons(study_id)) == list(stored)
        assert list(storage.list_comparisons(other.id)) == list(kept)
        assert list(storage.replace_comparisons(study_id, [])) == list(storage.list_comparisons(study_id)) == []

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"verdict": "great"}, InvalidRecord),
            ({"pairs": -1}, InvalidRecord),
            ({"high": math.inf}, InvalidRecord),
            ({"low": None}, InvalidRecord),
            ({"study_id": MISSING}, InvalidRecord),
            ({"candidate_trial_id": MISSING}, NotFound),
        ],
    )
    def test_a_refused_replacement_leaves_the_old_ones(self, storage: Storage, changes: dict[str, Any], error: type[Exception]) -> None:
        study = stored_study(storage)
        before = storage.replace_comparisons(study.id, [a_comparison(study.id)])
        with pytest.raises(error) as raised:
            storage.replace_comparisons(study.id, [a_comparison(study.id), replace(a_comparison(study.id), **changes)])
        assert_one_line(raised)
        assert list(storage.list_comparisons(study.id)) == list(before)

    def test_inconclusive_needs_no_interval(self, storage: Storage) -> None:
        study = stored_study(storage)
        [stored] = storage.replace_comparisons(
            study.id, [a_comparison(study.id, verdict="inconclusive", ratio=None, low=None, high=None, pairs=0)]
        )
        assert (stored.ratio, stored.low, stored.high) == (None, None, None)

    def test_a_recommendation_comes_back(self, storage: Storage) -> None:
        study = stored_study(storage)
        stored = storage.add_recommendation(a_recommendation(study.id))
        assert stored.created_at > 0
        assert replace(stored, id=0, created_at=0.0) == a_recommendation(study.id)
        assert storage.get_recommendation(stored.id) == stored

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"study_id": MISSING}, NotFound),
            ({"workload_hash": "nope"}, NotFound),
            ({"status": "maybe"}, InvalidRecord),
            ({"device_count": 0}, InvalidRecord),
        ],
    )
    def test_impossible_recommendations_are_refused(self, storage: Storage, changes: dict[str, Any], error: type[Exception]) -> None:
        study = stored_study(storage)
        with pytest.raises(error):
            storage.add_recommendation(replace(a_recommendation(study.id), **changes))
        assert not storage.list_recommendations()

    def test_recommendations_are_listed_newest_first_and_filtered(self, storage: Storage) -> None:
        study, other = stored_study(storage), storage.create_study(a_study(name="other"))
        for place, (study_id, model, accelerator) in enumerate(
            [(study.id, "m1", "cpu"), (study.id, "m1", "TPU v6e-4"), (other.id, "m2", "cpu"), (study.id, "m2", "cpu")]
        ):
            given = a_recommendation(study_id, model=model, accelerator=accelerator, created_at=10.0 + place, body={"place": place})
            storage.add_recommendation(given)

        def places(**filters: Any) -> list[int]:
            return [found.body["place"] for found in storage.list_recommendations(**filters)]

        assert places() == [3, 2, 1, 0]
        assert places(study_id=study.id) == [3, 1, 0]
        assert places(model="m2") == [3, 2]
        assert places(model="m1", accelerator="cpu") == [0]
        assert places(limit=2, offset=1) == [2, 1]
        withdrawn = storage.mark_recommendation(storage.list_recommendations()[1].id, published=False, by=ANNA)
        assert withdrawn.withdrawn_at is not None
        assert places() == [3, 1, 0]
        assert places(include_withdrawn=True) == [3, 2, 1, 0]

    def test_publishing_and_withdrawing(self, storage: Storage) -> None:
        study = stored_study(storage)
        fresh = storage.add_recommendation(a_recommendation(study.id))
        assert (fresh.published_at, fresh.withdrawn_at) == (None, None)
        published = storage.mark_recommendation(fresh.id, published=True, by=ANNA)
        assert published.published_at is not None
        assert storage.mark_recommendation(fresh.id, published=True, by=ANNA) == published
        withdrawn = storage.mark_recommendation(fresh.id, published=False, by=ANNA)
        assert withdrawn.withdrawn_at is not None
        assert withdrawn.withdrawn_at >= published.published_at
        assert storage.mark_recommendation(fresh.id, published=False, by=ANNA) == withdrawn
        assert storage.mark_recommendation(fresh.id, published=True, by=ANNA) == published
        with pytest.raises(NotFound):
            storage.mark_recommendation(MISSING, published=True, by=ANNA)
        with pytest.raises(NotFound):
            storage.get_recommendation(MISSING)

    def test_publishing_leaves_a_trail(self, storage: Storage) -> None:
        """Only what changed something, newest first; a study that goes takes its recommendations along, not the trail."""
        study = stored_study(storage)
        fresh = storage.add_recommendation(a_recommendation(study.id))
        for published in (True, True, False, False, True):
            storage.mark_recommendation(fresh.id, published=published, by=ANNA)
        storage.delete_study(study.id, by=ANNA)
        entries = storage.list_audit(kind="recommendation", subject=str(fresh.id))
        assert [entry.action for entry in entries] == ["delete", "publish", "withdraw", "publish"]
        first = entries[-1]
        assert (first.actor, first.reason, first.request_id) == (ANNA.name, ANNA.reason, ANNA.request_id)
        assert 0 < first.at <= entries[0].at

    def test_a_change_without_a_name_is_refused(self, storage: Storage) -> None:
        """Trail and change are one transaction: where the one cannot be written, the other is not."""
        fresh = storage.add_recommendation(a_recommendation(stored_study(storage).id))
        with pytest.raises(InvalidRecord):
            storage.mark_recommendation(fresh.id, published=True, by=Actor(""))
        assert storage.get_recommendation(fresh.id) == fresh
        assert not storage.list_audit()

    def test_a_study_that_nobody_deletes_stays(self, storage: Storage) -> None:
        """Without a name there is no trail, so the study stays as well."""
        study = stored_study(storage)
        storage.add_recommendation(a_recommendation(study.id))
        with pytest.raises(InvalidRecord):
            storage.delete_study(study.id, by=Actor(""))
        assert storage.get_study(study.name) == study

    def test_recommendations_come_in_the_order_of_their_ids(self, storage: Storage) -> None:
        study = stored_study(storage)
        first, second, _ = (storage.add_recommendation(a_recommendation(study.id)) for _ in range(3))
        assert storage.get_recommendations([second.id, MISSING, first.id]) == [second, first]
        assert storage.get_recommendations([]) == []

    def test_the_version_changes_with_every_change_of_a_recommendation(self, storage: Storage) -> None:
        """Also with the deletion of an older one, which no newest id shows; reading changes nothing."""
        old, new = (stored_study(storage, name=name) for name in ("old", "new"))
        stored = [storage.add_recommendation(a_recommendation(study.id)) for study in (old, new)]
        changes: list[Callable[[], object]] = [
            lambda: storage.add_recommendation(a_recommendation(new.id)),
            lambda: storage.mark_recommendation(stored[0].id, published=True, by=ANNA),
            lambda: storage.mark_recommendation(stored[0].id, published=False, by=ANNA),
            lambda: storage.delete_study(old.id, by=ANNA),
            lambda: storage.delete_study(new.id, by=ANNA),
        ]
        seen = [storage.recommendations_version()]
        for change in changes:
            assert storage.recommendations_version() == seen[-1]
            change()
            seen.append(storage.recommendations_version())
        assert len(set(seen)) == len(seen)

    def test_keys_of_recommendations_say_what_they_are_about(self, storage: Storage) -> None:
        study = stored_study(storage, model_features={"layers": 2})
        places = [("m1", "cpu", 1), ("m1", "TPU v6e-4", 4), ("m2", "cpu", 1), ("m2", "cpu", 8)]
        stored = [
            storage.add_recommendation(
                a_recommendation(study.id, model=model, accelerator=accelerator, device_count=count, created_at=10.0 + place)
            )
            for place, (model, accelerator, count) in enumerate(places)
        ]
        [key] = storage.list_recommendation_keys(model="m1", accelerators=["TPU v6e-4", "TPU v6 lite-4"])
        assert key == RecommendationKey(
            stored[1].id, study.id, "first", "recommended", "m1", "TPU v6e-4", 4, a_workload().content_hash, study.objective, 11.0, None,
            {"layers": 2}, "chat", a_workload().summary,
        )  # fmt: skip

        def ids(**filters: Any) -> list[int]:
            return [key.id - stored[0].id for key in storage.list_recommendation_keys(**filters)]

        assert ids(model="m1") == [1, 0]
        assert ids(accelerators=["cpu"]) == [3, 2, 0]
        assert ids(accelerators=["cpu"], device_count=1, limit=1) == [2]
        assert ids(accelerators=[]) == ids(model="m3") == []
        storage.mark_recommendation(stored[2].id, published=False, by=ANNA)
        assert ids(accelerators=["cpu"]) == [3, 0]
        with pytest.raises(ValueError, match="a model or accelerators"):
            storage.list_recommendation_keys()


class DatabaseContract:
    def test_check_describes_a_healthy_database(self, storage: Storage) -> None:
        answer = storage.check()
        assert set(answer) == {"url", "dialect", "revision", "head", "ok"}
        assert answer["ok"] is True
        assert answer["revision"] == answer["head"]

    def test_close_is_idempotent(self, storage: Storage) -> None:
        storage.close()
        storage.close()
        assert storage.check()["ok"] is True, "what is asked afterwards connects anew"

    def test_a_rejected_call_leaves_the_storage_usable(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        for _ in range(40):  # more than the pool holds: a leaked connection would show
            with pytest.raises(Conflict):
                storage.finish_trial(trial.id, TrialState.COMPLETE)
            with pytest.raises(Conflict):
                storage.create_trial(a_trial(trial.study_id))
        assert storage.start_trial(trial.id).state is TrialState.RUNNING


class StorageContract(
    StudyContract,
    ContentContract,
    TrialContract,
    GateContract,
    MeasurementContract,
    ProfileContract,
    VerdictContract,
    AccessContract,
    DatabaseContract,
):
    """Everything that storage.base.Storage promises to one caller; tests/storage/test_concurrency.py has what it promises to several."""
