"""A recommendation that seems to contradict the study's answer is explained, and only such a one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.storage.builders import a_recommendation
from tests.tuner.evidence_builder import METRIC
from tuner.core.contrast import Contrast
from tuner.verdict.answer import answer_of
from tuner.verdict.beside import beside, why_both_hold
from tuner.verdict.compare import StudyComparison
from tuner.verdict.study_answer import StudyAnswer

RULE = {"on": [[16, 256]], "off": [[64, 128]]}


def answer(kind: str) -> StudyAnswer:
    return StudyAnswer(METRIC, kind, f"{kind}: ...", None, {}, rule=RULE if kind == "on_where" else None)


def recommended(arm: str | None, page: int = 16, budget: int = 256, **arms: Any) -> dict[str, Any]:
    if arm is None:
        return {"status": "none", "reason": "nothing completed"}
    settings = {"arm": arm, "block_size": page, "max_num_batched_tokens": budget}
    return {"status": "recommended", "settings": settings, "evidence": {"arms": arms or None}}


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("on", recommended("default", verdict="better", set_aside="the gain is within the tie band"), "within the tie band"),
        ("on", recommended("default", verdict="equivalent"), "in its cell alone page alignment is equivalent"),
        ("on", recommended(None), "nothing is recommended although the answer is on: nothing completed"),
        ("off", recommended("page_aligned", verdict="inconclusive"), "with page alignment although the answer is off"),
        ("no_difference", recommended("page_aligned"), "page alignment makes no difference"),
        ("on_where", recommended("default"), "page size 16, chunk budget 256 with the default arm although the answer is on there"),
        ("on_where", recommended("page_aligned", 64, 128), "with page alignment"),
        ("on", recommended("page_aligned"), ""),
        ("off", recommended("default"), ""),
        ("off", recommended(None), ""),
        ("on_where", recommended("page_aligned"), ""),
        ("on_where", recommended("default", 64, 128), ""),
        ("mixed", recommended("page_aligned"), ""),
        ("undecided", recommended("default"), ""),
    ],
)
def test_what_seems_to_contradict_is_explained(kind: str, body: dict[str, Any], says: str) -> None:
    found = why_both_hold(answer(kind), answer_of(a_recommendation(1, status=body["status"], body=body)))
    assert (says in found) and bool(says) == bool(found)


def test_the_explanation_goes_with_the_answer() -> None:
    judged = StudyComparison((), {METRIC: answer("on")})
    explained = beside(judged, answer_of(a_recommendation(1, body=recommended("default")))).answer
    assert explained is not None and explained.beside and explained.notes[0] == explained.beside
    assert beside(judged, None) is judged


SEQS = Contrast("max_num_seqs", 256)


@pytest.mark.parametrize(
    ("kind", "level", "verdict", "says"),
    [
        (
            "on",
            256,
            "inconclusive",
            "max_num_seqs 256 although the answer is better: it is chosen by the values of configurations; in its cell",
        ),
        ("on", 256, "better", "although the answer is better: the gain is within the tie band"),
        ("off", 64, "inconclusive", "in its cell alone max_num_seqs 64 instead of 256 is inconclusive"),
        ("no_difference", 64, "equivalent", "although max_num_seqs makes no difference"),
        ("on_where", 64, "better", "although the answer is better there"),  # its cell is not among those of the rule
        ("on_where", 256, "better", ""),
        ("on", 64, "better", ""),
        ("off", 256, "worse", ""),
    ],
)
def test_another_compared_factor_is_explained_in_its_own_words(kind: str, level: int, verdict: str, says: str) -> None:
    set_aside = "the gain is within the tie band" if (level, verdict) == (256, "better") else None
    body = recommended("default")
    body["settings"]["max_num_seqs"] = level
    body["evidence"]["compared"] = {"levels": [{"level": 64, "verdict": verdict, "set_aside": set_aside}]}
    found = why_both_hold(answer(kind), answer_of(a_recommendation(1, status="recommended", body=body)), SEQS)
    assert (says in found) and bool(says) == bool(found) and "page alignment" not in found
