"""What a study found in words: is page alignment better here, by how much, how sure, where. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.pages.format import number, percent
from tuner.report.effects import EffectRow, Effects
from tuner.report.legend import MARKS
from tuner.stats.intervals import Verdict
from tuner.verdict.answer import Answer
from tuner.verdict.study_answer import ANSWER_OFF, ANSWER_ON

_MOST_SIZES = 8


@dataclass(frozen=True)
class Pattern:
    """The geometric mean of the effects at each value of one setting, in percent."""

    setting: str
    effects: tuple[tuple[int, float], ...]


def headline(effects: Effects) -> str:
    """The answer to "is page-aligned scheduling better here?" in a few words."""
    found = effects.answer
    if found is None:
        return "Not decided"
    if found.answer == ANSWER_ON:
        return "Yes: turn it on"
    if found.answer == ANSWER_OFF:
        equivalent = found.pooled is not None and found.pooled.verdict is Verdict.EQUIVALENT
        return "No practical difference: leave it off" if equivalent else "No: leave it off"
    if found.counts[Verdict.BETTER] and found.counts[Verdict.WORSE]:
        return "It depends on page size and chunk budget"
    return "Not decided"


def how_sure(effects: Effects) -> str:
    """Why the verdict on all cells is what it is; "" without one."""
    return MARKS[Verdict(effects.pooled.verdict)].meaning.replace("+-", "±") if effects.pooled is not None else ""


def patterns(effects: Effects) -> list[Pattern]:
    """Along page size and along chunk budget, where there are at least two of them and not too many to read."""
    found = []
    for setting, place in (("page size", 0), ("chunk budget", 1)):
        groups: dict[int, list[float]] = {}
        for row in effects.rows:
            if row.change is not None:
                groups.setdefault((row.block_size, row.max_num_batched_tokens)[place], []).append(math.log1p(row.change / 100))
        if 2 <= len(groups) <= _MOST_SIZES:
            means = tuple((size, 100 * math.expm1(math.fsum(logs) / len(logs))) for size, logs in sorted(groups.items()))
            found.append(Pattern(setting, means))
    return found


def winning_cell(effects: Effects, place: tuple[str, int, int] | None) -> EffectRow | None:
    """The effect in the cell that is recommended; None where it was not judged."""
    if place is None:
        return None
    return next((row for row in effects.rows if (row.block_size, row.max_num_batched_tokens) == place[1:] and row.change is not None), None)


def confirmations(answer: Answer) -> list[str]:
    """One sentence for each objective: the value in the search and the one after a cold start. They differ, because the best of many noisy
    values is an overestimate."""
    sentences = []
    for item in answer.evidence.get("search_overestimate", []):
        fraction = item.get("overestimate")
        if fraction is not None:
            size = percent(100 * abs(fraction)).removeprefix("+")
            values = f"{number(item['search_value'])} in the search, {number(item['confirmed_value'])} after a cold start"
            sentences.append(f"{item['metric']}: {values}, {size} {'worse' if fraction > 0 else 'better'}")
    return sentences
