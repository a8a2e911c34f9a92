"""A study's answer to "can page-aligned scheduling be on by default?", harm first. Pure.

    on             better somewhere, and in every cell shown not to lose more than 1 %
    on_where       it loses somewhere, and a rule in the settings separates those cells from others where it wins and none loses
    off            it loses somewhere and wins nowhere
    mixed          it wins somewhere and loses somewhere, and no simple rule separates the two
    trade_off      it wins in one objective and loses in another, or in the same cells misses an SLO that the default meets
    no_difference  within +-1 % in every cell
    undecided      none of these is shown; the sentence says what would decide it

What is shown, and with what error, is tuner.verdict.cell_claims'. The sentence is made once, where the cells are judged, and stored with
the study's comparisons, in the details of the metric's first one; everybody who shows it reads it from there (`stored_answer`). One that
another version stored is made anew from what was measured (tuner.verdict.conclude.compare_stored).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from storage.records import Comparison, Json
from tuner.core.factors import cell_from_json, cell_json
from tuner.stats.intervals import Verdict
from tuner.stats.pooling import PooledEffect
from tuner.verdict import answer_words as words
from tuner.verdict.answer_words import Told
from tuner.verdict.cell_claims import Place
from tuner.verdict.settings_rule import SettingsRule, find_rule

ANSWER_ON = "on"
ANSWER_ON_WHERE = "on_where"
ANSWER_OFF = "off"
ANSWER_MIXED = "mixed"
ANSWER_TRADE_OFF = "trade_off"
ANSWER_NO_DIFFERENCE = "no_difference"
ANSWER_UNDECIDED = "undecided"
VERSION = 2  # of the meaning of an answer; 1, which stored none, asked the average over the cells
_DETAIL = "study_answer"


@dataclass(frozen=True)
class StudyAnswer:
    """`answer` is one of the kinds above; `sentence` says it with its numbers, `caveats` say what it does not mean.

    `average` says what the mean over the cells is, which is not the answer. `wins` and `loses`: the cells that the sentence counts, in any
    of its metrics. `rule`: of on_where, with the cells on each side. `beside`: why the recommendation does not contradict it, where it
    seems to.
    """

    metric: str
    answer: str
    sentence: str
    pooled: PooledEffect | None
    counts: dict[str, int]  # verdict -> cells
    caveats: tuple[str, ...] = ()
    average: str = ""
    wins: tuple[Place, ...] = ()
    loses: tuple[Place, ...] = ()
    rule: Json | None = None
    beside: str = ""
    compared: str = ""  # what was compared, in words, where that is not page alignment
    version: int = VERSION

    @property
    def notes(self) -> tuple[str, ...]:
        """All that is to be said with the sentence, the most urgent first."""
        return (*filter(None, [self.beside]), *self.caveats)

    def to_json(self) -> Json:
        found = {**asdict(self), **{name: tuple(map(cell_json, getattr(self, name))) for name in ("wins", "loses")}}
        if not self.compared:  # as it was before anything else could be compared
            del found["compared"]
        return found

    @classmethod
    def from_json(cls, stored: Json) -> StudyAnswer:
        known = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        pooled = stored["pooled"]
        effect = PooledEffect(**{**pooled, "verdict": Verdict(pooled["verdict"])}) if pooled is not None else None
        places = {name: tuple(map(cell_from_json, stored.get(name, ()))) for name in ("wins", "loses")}
        return cls(**{**known, **places, "pooled": effect, "caveats": tuple(stored["caveats"])})


def study_answer(told: Told, *, nothing: str = "") -> StudyAnswer:
    """The answer over the objectives of `told`, of which the first is the study's metric. `nothing`: why no cell was compared."""
    first = told.objectives[0]
    rule: SettingsRule | None = None
    if told.places:
        answer, rule = decide(told)
        sentence = _sentence(told, answer, rule)
    else:
        answer, sentence = ANSWER_UNDECIDED, f"undecided: {nothing or 'no cell was measured in both arms'}"
    verdicts = [cell.effect.verdict for cell in first.cells]
    return StudyAnswer(
        metric=first.metric,
        answer=answer,
        sentence=sentence,
        pooled=first.pooled,
        counts={verdict.value: verdicts.count(verdict) for verdict in Verdict},
        average=words.average_text(first.pooled, first.metric),
        wins=_places(told, "wins"),
        loses=tuple(place for place in told.places if place in {*_places(told, "loses"), *told.slos.lost}),
        rule=None if rule is None else _rule_json(rule, told.places),
        compared="" if told.subject.of_arms else told.subject.it,
    )


def decide(told: Told) -> tuple[str, SettingsRule | None]:
    """(kind, rule of on_where). A cell loses where it loses in any objective, or misses an SLO that the default arm meets."""
    metrics, lost = told.objectives, told.slos.lost
    wins = set(_places(told, "wins"))
    loses = {*_places(told, "loses"), *lost.intersection(told.places)}
    every = [cell for item in metrics for cell in item.cells]
    if not loses:
        if all(cell.within for cell in every):
            return ANSWER_NO_DIFFERENCE, None
        if wins and all(cell.harmless for cell in every):
            return (ANSWER_UNDECIDED if told.slos.unmet else ANSWER_ON), None
        return ANSWER_UNDECIDED, None
    if not wins:
        return ANSWER_OFF, None
    unsafe = {cell.place for cell in every if not cell.safe}
    rule = find_rule(told.places, wins=wins, loses=loses, safe=set(told.places) - unsafe - lost)
    if rule is not None:
        return (ANSWER_UNDECIDED, None) if told.slos.unmet else (ANSWER_ON_WHERE, rule)
    both_ways = any(any(cell.wins for cell in item.cells) and any(cell.loses for cell in item.cells) for item in metrics)
    return (ANSWER_MIXED if both_ways else ANSWER_TRADE_OFF), None


def with_answer(comparisons: Sequence[Comparison], answer: StudyAnswer) -> list[Comparison]:
    """The comparisons of one metric, of which the first carries the answer into storage."""
    return [
        replace(item, details=item.details | {_DETAIL: answer.to_json()}) if place == 0 else item for place, item in enumerate(comparisons)
    ]


def stored_answer(comparisons: Sequence[Comparison], metric: str) -> StudyAnswer | None:
    """The answer that is stored with a study's comparisons; None where they carry none for this metric, or one of another version."""
    found = (item.details[_DETAIL] for item in comparisons if item.metric == metric and _DETAIL in item.details)
    return next((StudyAnswer.from_json(item) for item in found if item.get("version") == VERSION), None)


def _sentence(told: Told, answer: str, rule: SettingsRule | None) -> str:
    if answer == ANSWER_UNDECIDED and told.slos.unmet and _places(told, "wins"):
        return _joined(words.unmet_text(told), words.looks_text(told))
    if rule is not None:
        text = words.on_where_text(told, rule)
    else:
        text = {
            ANSWER_ON: words.on_text,
            ANSWER_OFF: words.off_text,
            ANSWER_MIXED: words.mixed_text,
            ANSWER_TRADE_OFF: words.trade_off_text,
            ANSWER_NO_DIFFERENCE: words.no_difference_text,
            ANSWER_UNDECIDED: words.undecided_text,
        }[answer](told)
    return _joined(text, words.looks_text(told), told.slos.unmet)


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _places(told: Told, claim: str) -> tuple[Place, ...]:
    found = {cell.place for item in told.objectives for cell in item.cells if getattr(cell, claim)}
    return tuple(dict.fromkeys(place for place in told.places if place in found))


def _rule_json(rule: SettingsRule, places: Sequence[Place]) -> Json:
    return {
        "words": rule.words,
        "quantity": rule.quantity,
        "at_most": rule.at_most,
        "limit": float(rule.limit),
        "on": [list(cell_json(place)) for place in places if rule.holds(place)],
        "off": [list(cell_json(place)) for place in places if not rule.holds(place)],
    }
