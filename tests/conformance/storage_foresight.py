"""The storage contract as tests, fifth part: what was foreseen."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from storage.base import InvalidRecord, Storage
from storage.records import ForesightAnswer
from tests.storage.builders import ANNA, a_foresight, stored_trial


def keyed(letter: str, **changes: Any) -> ForesightAnswer:
    return a_foresight(key=letter * 64, **changes)


def keys(found: list[ForesightAnswer]) -> list[str]:
    return [item.key[0] for item in found]


class ForesightContract:
    def test_what_was_foreseen_comes_back_by_its_key(self, storage: Storage) -> None:
        question = {"z": [1, 2.5, None, True], "a": {"nested": "värde"}, "max_num_batched_tokens": 128}
        before = time.time()
        storage.put_foresight([keyed("a", question=question), keyed("b", kind="program")])
        found = storage.find_foresight(["a" * 64, "c" * 64, "b" * 64])
        assert sorted(found) == ["a" * 64, "b" * 64]
        assert replace(found["a" * 64], id=0, created_at=0.0) == keyed("a", question=question)
        assert before <= found["a" * 64].created_at <= time.time()
        assert storage.find_foresight([]) == {}
        storage.put_foresight([])

    def test_storing_again_changes_nothing(self, storage: Storage) -> None:
        storage.put_foresight([keyed("a")])
        first = storage.find_foresight(["a" * 64])
        storage.put_foresight([keyed("a", answer={"block_size": 64}), keyed("b")])
        assert storage.find_foresight(["a" * 64]) == first
        assert keys(list(storage.list_foresight(kind="configuration", model="tiny-qwen3"))) == ["b", "a"]

    def test_more_keys_than_one_query_takes(self, storage: Storage) -> None:
        names = [f"{number:064}" for number in range(1100)]
        storage.put_foresight([a_foresight(key=name) for name in names])
        assert sorted(storage.find_foresight(names)) == names
        assert len(storage.list_foresight(kind="configuration", model="tiny-qwen3")) == 1000

    def test_a_list_is_of_one_kind_model_and_machine(self, storage: Storage) -> None:
        rows: dict[str, dict[str, Any]] = {
            "a": {},
            "b": {"accelerator": "TPU v5e"},
            "c": {"device_count": 4},
            "d": {"model": "other"},
            "e": {"kind": "engine"},
        }
        storage.put_foresight([keyed(letter, **changes) for letter, changes in rows.items()])
        expected: list[tuple[dict[str, Any], list[str]]] = [
            ({}, ["c", "b", "a"]),
            ({"accelerators": ["TPU v6e", "TPU v6"]}, ["c", "a"]),
            ({"accelerators": []}, []),
            ({"device_count": 4}, ["c"]),
            ({"limit": 2}, ["c", "b"]),
        ]
        for wanted, letters in expected:
            assert keys(list(storage.list_foresight(kind="configuration", model="tiny-qwen3", **wanted))) == letters, wanted
        assert keys(list(storage.list_foresight(kind="engine", model="tiny-qwen3"))) == ["e"]

    @pytest.mark.parametrize("changes", [{"key": "short"}, {"kind": "measured"}, {"device_count": 0}, {"answer": {"value": float("nan")}}])
    def test_what_cannot_be_is_refused_whole(self, storage: Storage, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidRecord):
            storage.put_foresight([keyed("a"), a_foresight(**changes)])
        assert storage.find_foresight(["a" * 64]) == {}

    def test_it_belongs_to_no_study_and_is_no_evidence(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        storage.put_foresight([keyed("a")])
        assert not storage.list_measurements(trial_id=trial.id) and not storage.list_recommendations()
        storage.delete_study(trial.study_id, by=ANNA)
        assert sorted(storage.find_foresight(["a" * 64])) == ["a" * 64]

    def test_answers_that_are_kept_elsewhere_are_made_anew(self, storage: Storage) -> None:
        before = storage.recommendations_version()
        storage.put_foresight([keyed("a")])
        assert storage.recommendations_version() != before
