"""Why a study's answer and the recommendation beside it both hold. Pure.

The answer is about all cells; a recommendation is one configuration, chosen by its values after a cold start. Where the two seem to
contradict each other the answer says why they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuner.core.contract import ARM_PAGE_ALIGNED
from tuner.core.contrast import ALIGNMENT, Contrast
from tuner.core.factors import cell_json, cell_words
from tuner.setup.space import Configuration
from tuner.verdict.answer import Answer, LevelEffect
from tuner.verdict.compare import StudyComparison
from tuner.verdict.study_answer import ANSWER_NO_DIFFERENCE, ANSWER_OFF, ANSWER_ON, ANSWER_ON_WHERE, StudyAnswer, with_answer


def beside(judged: StudyComparison, recommended: Answer | None, contrast: Contrast = ALIGNMENT) -> StudyComparison:
    """`judged`, whose first answer says why `recommended` does not contradict it, where it seems to."""
    answer = judged.answer
    if answer is None or recommended is None:
        return judged
    explained = replace(answer, beside=why_both_hold(answer, recommended, contrast))
    own = [item for item in judged.comparisons if item.metric == answer.metric]
    others = [item for item in judged.comparisons if item.metric != answer.metric]
    return StudyComparison((*with_answer(own, explained), *others), {**judged.answers, answer.metric: explained})


def why_both_hold(answer: StudyAnswer, recommended: Answer, contrast: Contrast = ALIGNMENT) -> str:
    """One clause; "" where nothing seems to contradict the other."""
    said = _said(answer.answer, contrast)
    if said is None:
        return ""
    if recommended.place is None:
        wanted = answer.answer in (ANSWER_ON, ANSWER_ON_WHERE)
        return f"nothing is recommended although {said}: {recommended.reason}" if wanted else ""
    found = Configuration.in_cell(recommended.place[1:], recommended.place[0])
    changed = contrast.level(found) != contrast.baseline
    if changed == _wants(answer, found, contrast):
        return ""
    why = (
        _set_aside(recommended, contrast)
        or f"it is chosen by the values of configurations; in its cell alone {_own_verdict(recommended, contrast)}"
    )
    return f"recommended is {_words(found, contrast)} although {said}: {why}"


def _said(answer: str, contrast: Contrast) -> str | None:
    """None where nothing can contradict the answer."""
    good, bad = ("on", "off") if contrast.of_arms else ("better", "worse")
    return {
        ANSWER_ON: f"the answer is {good}",
        ANSWER_ON_WHERE: f"the answer is {good} there",
        ANSWER_OFF: f"the answer is {bad}",
        ANSWER_NO_DIFFERENCE: f"{contrast.noun} makes no difference",
    }.get(answer)


def _wants(answer: StudyAnswer, found: Configuration, contrast: Contrast) -> bool:
    """Whether the answer is to have page alignment on, or another level than the baseline one, in this cell where it matters."""
    if answer.answer == ANSWER_ON_WHERE and answer.rule is not None:
        if not contrast.of_arms and contrast.level(found) == contrast.baseline:
            return False  # whether another level would be good there depends on the level
        return list(cell_json(contrast.place(found))) in answer.rule["on"]
    return answer.answer in (ANSWER_ON, ANSWER_ON_WHERE)


def _words(found: Configuration, contrast: Contrast) -> str:
    if contrast.of_arms or found.arm == ARM_PAGE_ALIGNED:
        return f"{cell_words(found.cell)} with {'page alignment' if found.arm == ARM_PAGE_ALIGNED else 'the default arm'}"
    return cell_words(found.cell)


def _set_aside(recommended: Answer, contrast: Contrast) -> str | None:
    evidence = recommended.evidence
    effects = [evidence.get("arms")] if contrast.of_arms else _levels(recommended)
    return next((why for effect in effects if effect is not None and (why := effect.get("set_aside"))), None)


def _levels(recommended: Answer) -> Sequence[LevelEffect]:
    compared = recommended.evidence.get("compared")
    return () if compared is None else compared["levels"]


def _own_verdict(recommended: Answer, contrast: Contrast) -> str:
    """What the pairs say in the recommended cell alone: "page alignment is inconclusive"."""
    if contrast.of_arms:
        arms = recommended.evidence.get("arms")
        return f"{contrast.noun} is {'not compared' if arms is None else arms['verdict']}"
    levels = (f"{contrast.words(item['level'])} is {item['verdict']}" for item in _levels(recommended))
    return ", ".join(levels) or f"{contrast.noun} is not compared"
