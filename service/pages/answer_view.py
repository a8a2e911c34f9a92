"""What a study found in words: can page alignment, or another level of what is compared, be on by default, by how much, where. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.pages.format import number, percent
from tuner.core.contrast import Contrast
from tuner.core.factors import Level, in_order
from tuner.report.effects import EffectRow, Effects
from tuner.verdict.answer import Answer, ComparedLevels, LevelEffect
from tuner.verdict.cell_claims import Place
from tuner.verdict.price import price_text
from tuner.verdict.study_answer import (
    ANSWER_MIXED,
    ANSWER_NO_DIFFERENCE,
    ANSWER_OFF,
    ANSWER_ON,
    ANSWER_ON_WHERE,
    ANSWER_TRADE_OFF,
    StudyAnswer,
)

_MOST_SIZES = 8


@dataclass(frozen=True)
class Pattern:
    """The geometric mean of the effects at each value of one setting, in percent."""

    setting: str
    effects: tuple[tuple[Level, float], ...]


_HEADLINES = {
    ANSWER_ON: "Yes: turn it on",
    ANSWER_ON_WHERE: "In some settings: turn it on there",
    ANSWER_OFF: "No: leave it off",
    ANSWER_MIXED: "It depends: better here, worse there",
    ANSWER_TRADE_OFF: "A trade-off",
    ANSWER_NO_DIFFERENCE: "No difference: leave it off",
}

# Of another factor than page alignment; what was compared follows.
_COMPARED = {
    ANSWER_ON: "Better",
    ANSWER_ON_WHERE: "Better in some cells",
    ANSWER_OFF: "Worse",
    ANSWER_MIXED: "Better here, worse there",
    ANSWER_TRADE_OFF: "A trade-off",
    ANSWER_NO_DIFFERENCE: "No difference",
}


def headline(answer: StudyAnswer | None) -> str:
    """The answer to the study's question (tuner.report.asked.short_question) in a few words."""
    if answer is not None and answer.compared:
        return f"{_COMPARED.get(answer.answer, 'Not decided')}: {answer.compared}"
    return _HEADLINES.get(answer.answer, "Not decided") if answer is not None else "Not decided"


def patterns(effects: Effects) -> list[Pattern]:
    """Along page size, chunk budget and each further factor, where there are at least two of them and not too many to read."""
    groups: dict[str, dict[Level, list[float]]] = {}
    for row in effects.rows:
        if row.change is not None:
            for setting, level in (("page size", row.block_size), ("chunk budget", row.max_num_batched_tokens), *row.factors):
                groups.setdefault(setting, {}).setdefault(level, []).append(math.log1p(row.change / 100))
    return [
        Pattern(
            setting, tuple((level, 100 * math.expm1(math.fsum(logs) / len(logs))) for level, logs in sorted(levels.items(), key=_by_level))
        )
        for setting, levels in groups.items()
        if 2 <= len(levels) <= _MOST_SIZES
    ]


def _by_level(item: tuple[Level, list[float]]) -> tuple[Any, ...]:
    return in_order((("", item[0]),))


def winning_cell(effects: Effects, place: Place | None) -> EffectRow | None:
    """The effect in the cell that is recommended; None where it was not judged."""
    return None if place is None else _row_of(effects, place)


def price(effects: Sequence[Effects], place: Place | None = None) -> str:
    """What the first metric's change costs in the others: in one cell, or on average over the cells."""
    if not effects:
        return ""
    rows = [(item.metric, _row_of(item, place)) for item in effects]
    judged = [(metric, 1 + row.change / 100, row.verdict) for metric, row in rows[1:] if row is not None and row.change is not None]
    first = rows[0][1]
    return price_text(first.verdict, judged) if first is not None else ""


def _row_of(effects: Effects, place: Place | None) -> EffectRow | None:
    if place is None:
        return effects.pooled
    return next((row for row in effects.rows if row.place == place and row.change is not None), None)


def compared_title(compared: ComparedLevels) -> str:
    """What the pairs of a recommended cell compare, where that is not page alignment."""
    return Contrast(compared["factor"], compared["baseline"]).title


def compared_words(compared: ComparedLevels, effect: LevelEffect) -> str:
    """For instance "max_num_seqs 64 instead of 256"."""
    return Contrast(compared["factor"], compared["baseline"]).words(effect["level"])


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
