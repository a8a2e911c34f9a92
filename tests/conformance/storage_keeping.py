"""The storage contract as tests, fourth part: finding studies and recommendations again, and what people do to studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from storage.base import Conflict, InvalidRecord, NotFound, Storage
from storage.records import Actor, Answerable, PublicationState, StudyContext, TrialState
from tests.storage.builders import (
    ANNA,
    FINGERPRINT,
    a_recommendation,
    a_study,
    a_trial,
    a_workload,
    an_environment,
    stored_study,
)

MISSING = 999_999
OTHER_WORKLOAD = "b" * 64


class KeepingContract:
    @pytest.mark.parametrize("text", ["qwen", "QWEN", "3-0.6b", "night", "Chat", "sweep_1"])
    def test_a_study_is_found_by_a_part_of_what_people_call_it(self, storage: Storage, text: str) -> None:
        wanted = stored_study(storage, name="night-sweep_1", model="Qwen/Qwen3-0.6B")
        storage.create_trial(a_trial(wanted.id))
        storage.put_workload(a_workload(content_hash=OTHER_WORKLOAD, name="docs"))
        other = storage.create_study(a_study(name="weekly-sweepX1", model="google/gemma-3-1b"))
        storage.create_trial(a_trial(other.id, workload_hash=OTHER_WORKLOAD))
        assert [study.name for study in storage.list_studies(text=text)] == ["night-sweep_1"]
        assert storage.count_studies(text=text) == 1

    @pytest.mark.parametrize("text", ["%", "_", "\\", "'", "%wen%", "q_en"])
    def test_what_is_typed_is_no_pattern(self, storage: Storage, text: str) -> None:
        stored_study(storage, name="first", model="Qwen/Qwen3-0.6B")
        assert storage.list_studies(text=text) == []
        assert storage.list_recommendations(text=text) == []

    def test_a_study_is_found_by_tag_machine_and_archive(self, storage: Storage) -> None:
        first, second = stored_study(storage), storage.create_study(a_study(name="second"))
        storage.put_environment(an_environment(fingerprint="f" * 64, accelerator="TPU v6e-4", device_count=4))
        storage.create_trial(a_trial(first.id, environment=FINGERPRINT, state=TrialState.RUNNING))
        storage.create_trial(a_trial(second.id, environment="f" * 64, state=TrialState.RUNNING))
        storage.label_study(first.id, tags=["nightly"], by=ANNA)
        storage.label_study(second.id, archived=True, by=ANNA)
        for wanted, names in (
            ({"text": "NIGHT"}, ["first"]),
            ({"accelerator": "TPU v6e-4"}, ["second"]),
            ({"accelerator": "TPU v6e"}, []),
            ({"archived": False}, ["first"]),
            ({"archived": True}, ["second"]),
            ({"archived": True, "text": "night"}, []),
        ):
            assert [study.name for study in storage.list_studies(**wanted)] == names, wanted
            assert storage.count_studies(**wanted) == len(names)
        assert storage.list_accelerators() == ["TPU v6e-4", "cpu x86_64"]

    def test_a_list_knows_what_each_study_ran_on(self, storage: Storage) -> None:
        first, second = stored_study(storage), storage.create_study(a_study(name="second"))
        for number in range(3):
            storage.create_trial(a_trial(first.id, number, environment=FINGERPRINT, state=TrialState.RUNNING))
        storage.create_trial(a_trial(second.id))
        found = storage.contexts_of([first.id, second.id, MISSING])
        assert found[first.id] == [StudyContext(first.id, "cpu x86_64", 1, "chat")]
        assert found[second.id] == [StudyContext(second.id, None, None, "chat")], "no engine has started"
        assert found[MISSING] == []
        assert storage.contexts_of([]) == {}

    def test_recommendations_are_found_by_text_and_by_what_people_decided(self, storage: Storage) -> None:
        study = stored_study(storage, name="nightly")
        made = [storage.add_recommendation(a_recommendation(study.id, model=model)) for model in ("Qwen/A", "other/B", "other/C")]
        storage.mark_recommendation(made[0].id, published=True, by=ANNA)
        storage.mark_recommendation(made[1].id, published=True, by=ANNA)
        storage.mark_recommendation(made[1].id, published=False, by=ANNA)
        for wanted, models in (
            ({"text": "qwen"}, ["Qwen/A"]),
            ({"text": "NIGHT", "include_withdrawn": True}, ["other/C", "other/B", "Qwen/A"]),
            ({"text": "chat"}, ["other/C", "Qwen/A"]),
            ({"publication": PublicationState.PUBLISHED}, ["Qwen/A"]),
            ({"publication": PublicationState.WITHDRAWN}, ["other/B"]),
            ({"publication": PublicationState.OPEN}, ["other/C"]),
        ):
            assert [item.model for item in storage.list_recommendations(**wanted)] == models, wanted
        storage.add_recommendation(a_recommendation(study.id, model="other/D", status="none"))
        asked = storage.list_answerable()
        assert {item.model for item in asked} == {"Qwen/A", "other/C"}
        assert asked[0] == Answerable(asked[0].model, "cpu x86_64", 1, "chat", "output_token_throughput")

    def test_a_renamed_study_is_the_same_study(self, storage: Storage) -> None:
        study = stored_study(storage)
        storage.create_study(a_study(name="taken"))
        trial = storage.create_trial(a_trial(study.id))
        made = storage.add_recommendation(a_recommendation(study.id, body={"evidence": {"study": "first", "trial_ids": [1]}}))
        with pytest.raises(Conflict):
            storage.rename_study(study.id, "taken", by=ANNA)
        assert storage.get_study("first") == study, "and nothing has changed"
        before = storage.recommendations_version()
        renamed = storage.rename_study(study.id, "chat-v6e", by=ANNA)
        assert renamed == replace(study, name="chat-v6e") == storage.get_study("chat-v6e")
        with pytest.raises(NotFound):
            storage.get_study("first")
        assert list(storage.list_trials(study.id)) == [trial]
        assert storage.get_recommendation(made.id).body["evidence"] == {"study": "chat-v6e", "trial_ids": [1]}
        assert storage.recommendations_version() != before, "answers that name it are made anew"
        assert storage.create_study(a_study(name="first")).id != study.id, "the old name is free again"

    @pytest.mark.parametrize("name", ["", "x" * 256])
    def test_a_name_that_no_study_may_have_is_refused(self, storage: Storage, name: str) -> None:
        study = stored_study(storage)
        with pytest.raises(InvalidRecord):
            storage.rename_study(study.id, name, by=ANNA)
        assert (storage.get_study("first"), storage.list_audit()) == (study, [])

    def test_tags_are_replaced_and_an_archived_study_comes_back(self, storage: Storage) -> None:
        study = stored_study(storage)
        assert (study.tags, study.archived_at) == (None, None)
        tagged = storage.label_study(study.id, tags=["v6e", "chat", "v6e"], by=ANNA)
        assert tagged.tags == ["chat", "v6e"]
        archived = storage.label_study(study.id, archived=True, by=ANNA)
        assert archived.archived_at is not None and archived.archived_at > 0
        assert storage.label_study(study.id, archived=True, by=ANNA) == archived
        assert storage.label_study(study.id, tags=[], archived=False, by=ANNA) == study == storage.get_study("first")

    def test_what_people_do_to_a_study_leaves_a_trail(self, storage: Storage) -> None:
        """Only what changed something, newest first; it outlives the study."""
        study = stored_study(storage)
        storage.create_trial(a_trial(study.id))
        for _ in range(2):
            storage.rename_study(study.id, "renamed", by=ANNA)
            storage.label_study(study.id, tags=["chat"], by=ANNA)
            storage.label_study(study.id, archived=True, by=ANNA)
        storage.label_study(study.id, tags=[], archived=False, by=ANNA)
        storage.delete_study(study.id, by=ANNA)
        entries = storage.list_audit(kind="study", subject=str(study.id))
        assert [(entry.action, entry.detail) for entry in entries] == [
            ("delete", "renamed, 1 trial"),
            ("restore", "renamed"),
            ("tag", "chat -> none"),
            ("archive", "renamed"),
            ("tag", "none -> chat"),
            ("rename", "first -> renamed"),
        ]
        assert {(entry.actor, entry.reason, entry.request_id) for entry in entries} == {(ANNA.name, ANNA.reason, ANNA.request_id)}

    def test_a_change_that_nobody_makes_is_not_made(self, storage: Storage) -> None:
        study, nobody = stored_study(storage), Actor("")
        changes: list[Callable[[], object]] = [
            lambda: storage.rename_study(study.id, "other", by=nobody),
            lambda: storage.label_study(study.id, tags=["chat"], by=nobody),
            lambda: storage.label_study(study.id, archived=True, by=nobody),
            lambda: storage.delete_study(study.id, by=nobody),
        ]
        for change in changes:
            with pytest.raises(InvalidRecord):
                change()
        assert (storage.get_study("first"), storage.list_audit()) == (study, [])

    def test_studies_that_there_are_not_are_not_changed(self, storage: Storage) -> None:
        changes: list[Callable[[], object]] = [
            lambda: storage.rename_study(MISSING, "other", by=ANNA),
            lambda: storage.label_study(MISSING, tags=["chat"], by=ANNA),
            lambda: storage.label_study(MISSING, archived=True, by=ANNA),
        ]
        for change in changes:
            with pytest.raises(NotFound):
                change()
        assert storage.list_audit() == []
