"""Why a study's answer and the recommendation beside it both hold. Pure.

The answer is about all cells; a recommendation is one configuration, chosen by its values after a cold start. Where the two seem to
contradict each other the answer says why they do not.
"""

from __future__ import annotations

from dataclasses import replace

from tuner.core.contract import ARM_PAGE_ALIGNED
from tuner.core.factors import Cell, cell_json, cell_words
from tuner.verdict.answer import Answer
from tuner.verdict.compare import StudyComparison
from tuner.verdict.study_answer import ANSWER_NO_DIFFERENCE, ANSWER_OFF, ANSWER_ON, ANSWER_ON_WHERE, StudyAnswer, with_answer

_SAYS = {
    ANSWER_ON: "the answer is on",
    ANSWER_ON_WHERE: "the answer is on there",
    ANSWER_OFF: "the answer is off",
    ANSWER_NO_DIFFERENCE: "page alignment makes no difference",
}


def beside(judged: StudyComparison, recommended: Answer | None) -> StudyComparison:
    """`judged`, whose first answer says why `recommended` does not contradict it, where it seems to."""
    answer = judged.answer
    if answer is None or recommended is None:
        return judged
    explained = replace(answer, beside=why_both_hold(answer, recommended))
    own = [item for item in judged.comparisons if item.metric == answer.metric]
    others = [item for item in judged.comparisons if item.metric != answer.metric]
    return StudyComparison((*with_answer(own, explained), *others), {**judged.answers, answer.metric: explained})


def why_both_hold(answer: StudyAnswer, recommended: Answer) -> str:
    """One clause; "" where nothing seems to contradict the other."""
    if answer.answer not in _SAYS:
        return ""
    if recommended.place is None:
        return f"nothing is recommended although {_SAYS[answer.answer]}: {recommended.reason}" if _wants(answer, None) else ""
    arm, place = recommended.place[0], recommended.place[1:]
    aligned = arm == ARM_PAGE_ALIGNED
    if aligned == _wants(answer, place):
        return ""
    there = f"{cell_words(place)} with {'page alignment' if aligned else 'the default arm'}"
    arms = recommended.evidence.get("arms")
    own = "not compared" if arms is None else arms["verdict"]
    set_aside = None if arms is None else arms.get("set_aside")
    why = set_aside or f"it is chosen by the values of configurations; in its cell alone page alignment is {own}"
    return f"recommended is {there} although {_SAYS[answer.answer]}: {why}"


def _wants(answer: StudyAnswer, place: Cell | None) -> bool:
    """Whether the answer is to have page alignment on, in this cell where it matters."""
    if answer.answer == ANSWER_ON_WHERE and answer.rule is not None and place is not None:
        return list(cell_json(place)) in answer.rule["on"]
    return answer.answer in (ANSWER_ON, ANSWER_ON_WHERE)
