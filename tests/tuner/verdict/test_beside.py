"""A recommendation that seems to contradict the study's answer is explained, and only such a one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.storage.builders import a_recommendation
from tests.tuner.evidence_builder import METRIC
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
