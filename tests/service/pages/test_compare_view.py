"""Two trials in words, and where to find them paired."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from profiles.diff import diff
from service.pages.compare_view import paired, searched_pair, why_in_words
from storage.records import Stage
from tests.profiles.summaries import summary
from tests.service.pages.gallery import FINISHED, Gallery

MINUS = "\N{MINUS SIGN}"


@pytest.mark.slow
def test_the_sentence_names_what_changed_and_by_how_much(tmp_path: Path) -> None:
    found = diff([summary(tmp_path, "a")], [summary(tmp_path, "b", factor={"tuner_kv_write": 0.5})])
    said = why_in_words(found)
    assert said.startswith("A step takes ") and f"{MINUS}{abs(found.step.difference_ms):.4g} ms, of which kv_write {MINUS}" in said
    assert "attention" not in said
    back = why_in_words(diff([summary(tmp_path, "c", factor={"tuner_kv_write": 0.5})], [summary(tmp_path, "d")]))
    assert "of which kv_write +" in back
    same = why_in_words(diff([summary(tmp_path, "e")], [summary(tmp_path, "f")]))
    assert same.endswith("no difference beyond chance")


@pytest.mark.slow
def test_finalists_lead_to_their_pairs_in_the_search(pages: TestClient, gallery: Gallery) -> None:
    trials = gallery.storage.list_trials(gallery.storage.get_study(FINISHED).id)
    found = searched_pair(trials, gallery.twin, gallery.winner)
    assert found is not None and paired(*found)
    for mine, theirs in zip(found, (gallery.twin, gallery.winner), strict=True):
        assert (mine.arm, mine.block_size, mine.max_num_batched_tokens) == (theirs.arm, theirs.block_size, theirs.max_num_batched_tokens)
        assert mine.stage is Stage.SEARCH
    assert searched_pair(trials, *found) is None
    text = pages.get(f"/compare?baseline={found[0].id}&candidate={found[1].id}").text
    assert "The same cell in the search" not in text


@pytest.mark.slow
@pytest.mark.parametrize("which", ["failed", "hostile"])
def test_there_is_no_pair_where_a_side_has_no_value(gallery: Gallery, which: str) -> None:
    trials = gallery.storage.list_trials(gallery.winner.study_id)
    assert searched_pair(trials, getattr(gallery, which), gallery.winner) is None
