"""What an answer says of a published one that was withdrawn for its question."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.base import Storage
from storage.records import Actor
from tests.tuner.advice.recommendations import ASKED, stored
from tuner.advice.advice import advise


@pytest.mark.parametrize("reason", ["it loses: -7.4 %", ""])
def test_vllms_defaults_say_why_there_is_no_recommendation_any_more(each_storage: Storage, reason: str) -> None:
    found = stored(each_storage, "s")
    each_storage.mark_recommendation(found.id, published=True, by=Actor("anna"))
    each_storage.mark_recommendation(found.id, published=False, by=Actor("ben", reason))
    answer = advise(each_storage, ASKED)
    assert answer.status == "default"
    assert (f"recommendation {found.id} was withdrawn on " in answer.reason and answer.reason.endswith(reason)) is bool(reason)
    elsewhere = advise(each_storage, replace(ASKED, device_count=8, accelerator="TPU v6e-8"))
    assert "withdrawn" not in elsewhere.reason


def test_a_successor_says_it_in_a_note_and_a_published_one_does_not(storage: Storage) -> None:
    old, new = stored(storage, "old"), stored(storage, "new")
    storage.mark_recommendation(old.id, published=True, by=Actor("anna"))
    storage.mark_recommendation(old.id, published=False, by=Actor("ben", "it loses"))
    answer = advise(storage, ASKED)
    assert (answer.id, answer.caveats[-1].endswith(": it loses")) == (new.id, True)
    storage.mark_recommendation(new.id, published=True, by=Actor("anna"))
    assert not any("withdrawn" in note for note in advise(storage, ASKED).caveats)


def test_what_was_never_published_is_nobodys_business(storage: Storage) -> None:
    found = stored(storage, "s")
    storage.mark_recommendation(found.id, published=False, by=Actor("ben", "a slip"))
    assert "withdrawn" not in advise(storage, ASKED).reason
