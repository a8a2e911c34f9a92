"""Two studies of one question beside each other: did the answer change, and what was different. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from service.pages.answer_view import headline
from service.pages.facts import StudyFacts
from service.pages.trial_view import ConfigRow
from tuner.core.factors import cell_in_order
from tuner.report.effects import EffectRow, Effects
from tuner.setup.config import STUDY_SETTINGS
from tuner.setup.stored_study import StoredStudy

_SAID_BY_NAME = frozenset({"study", "model", "objective", "workload"})
_SETTINGS = tuple(name for name, setting in STUDY_SETTINGS.items() if not setting.resumable and name not in _SAID_BY_NAME)


@dataclass(frozen=True)
class CellPair:
    """One cell as each study judged it; None where a study has not."""

    label: str
    baseline: EffectRow | None
    candidate: EffectRow | None
    apart: bool  # the intervals have nothing in common


def cell_pairs(baseline: Effects, candidate: Effects) -> list[CellPair]:
    """Every cell that either has, by page size and chunk budget."""
    sides = [{row.place: row for row in effects.rows} for effects in (baseline, candidate)]
    pairs = []
    for place in sorted(sides[0].keys() | sides[1].keys(), key=cell_in_order):
        one, other = sides[0].get(place), sides[1].get(place)
        shown = one or other
        assert shown is not None
        pairs.append(CellPair(shown.label, one, other, one is not None and other is not None and apart(one, other)))
    return pairs


def apart(one: EffectRow, other: EffectRow) -> bool:
    """Whether the intervals do not touch; False where one has none."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.high < other.low or other.high < one.low


def in_words(baseline: Effects, candidate: Effects) -> str:
    """Whether the answer to the question is the same in both."""
    answers = headline(baseline.answer), headline(candidate.answer)
    same = answers[0] == answers[1]
    start = f"Both say the same: {answers[0]}." if same else f"The answer differs: {answers[0]}, against {answers[1]}."
    if baseline.pooled is None or candidate.pooled is None:
        return start
    if apart(baseline.pooled, candidate.pooled):
        return f"{start} The averages over the cells differ: their intervals do not touch."
    return f"{start} The averages over the cells may be the same: their intervals overlap."


def differences(baseline: StudyFacts, candidate: StudyFacts) -> list[ConfigRow]:
    """What was not the same: model, machine, versions, workload, objective, and the settings of the search."""
    sides = [_facts(baseline), _facts(candidate)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    return [
        ConfigRow(name, sides[0].get(name, ""), sides[1].get(name, ""), True) for name in names if sides[0].get(name) != sides[1].get(name)
    ]


def _facts(facts: StudyFacts) -> dict[str, str]:
    given, found = StoredStudy.from_record(facts.study).given, {"model": facts.study.model, "objective": facts.study.objective}
    if facts.environment is not None:
        found |= {"accelerator": facts.environment.accelerator, "devices": str(facts.environment.device_count)}
        found |= {f"version of {name}": str(version) for name, version in sorted(facts.environment.versions.items())}
    if facts.workload is not None:
        found |= {"workload": facts.workload.name, "workload content": facts.workload.content_hash[:12]}
    return found | {
        name.replace("_", " "): _text(given[name]) for name in _SETTINGS if name in given and (name != "factors" or given[name])
    }


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
