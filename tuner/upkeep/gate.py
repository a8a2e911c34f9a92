"""Gates: what a study has to reach, told as a limit or as a fraction of what is published. Pure.

Of windows a gate knows a 95 % interval (of all gates together: Bonferroni). It holds where the whole interval does. It fails where the
whole interval is beyond the limit by more than starts of one engine may differ (tuner.stats.racing.ENGINE_BAND), which no interval of
windows knows: a gate that fails now and then on an unchanged build is one that nobody looks at. What lies between is undecided.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.core.errors import BadInput
from tuner.core.numbers import change, exact, number
from tuner.metrics.catalog import Direction, metric_info
from tuner.metrics.objective import parse_objectives
from tuner.stats.intervals import ERROR_RATE, log_mean_interval, welch_interval
from tuner.stats.racing import ENGINE_BAND

PUBLISHED = "published"
_GATE = re.compile(r"\s*([A-Za-z0-9_]{1,60})\s*(<=|>=)\s*(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)(\s*\*\s*published)?|(published))\s*", re.ASCII)
_EXAMPLE = "write METRIC>=FACTOR*published or METRIC<=NUMBER, for instance throughput>=0.97*published"
_LONGEST = 200  # characters
MOST = 16


class Standing(StrEnum):
    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Gate:
    """`metric` at or above (below, where less is better) `limit`, times what is published where `of_published`."""

    metric: str
    operator: str  # ">=" or "<="
    limit: float
    of_published: bool

    def __str__(self) -> str:
        return f"{self.metric}{self.operator}{exact(self.limit)}{f'*{PUBLISHED}' if self.of_published else ''}"


@dataclass(frozen=True)
class GateResult:
    gate: str
    standing: Standing
    told: str

    def to_json(self) -> dict[str, str]:
        return {"gate": self.gate, "standing": self.standing.value, "told": self.told}


def parse_gates(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Raises BadInput, in one line, for what is no gate, asks for the worse, can never be met, or is there twice."""
    if len(texts) > MOST:
        raise BadInput(f"{len(texts)} are given", setting="gate", fix=f"use at most {MOST}")
    found: list[Gate] = []
    for text in texts:
        gate = _parsed(text)
        if any(other.metric == gate.metric and other.of_published == gate.of_published for other in found):
            raise BadInput("has two gates", setting="gate", value=gate.metric, fix="keep one")
        found.append(gate)
    return tuple(found)


def _parsed(text: str) -> Gate:
    match = _GATE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        shown = repr(text if len(text) <= 60 else f"{text[:60]}...")
        raise BadInput("cannot be read", setting="gate", value=shown, fix=_EXAMPLE)
    name, operator, limit, times, alone = match.groups()
    try:
        objective = parse_objectives(name)[0]
    except BadInput as error:
        raise error.about("gate") from error
    good = ">=" if objective.direction is Direction.MAXIMIZE else "<="
    if operator != good:
        less = "more" if good == ">=" else "less"
        raise BadInput(
            f"{operator} keeps out what is better: of {name} {less} is better", setting="gate", value=repr(text), fix=f"use {good}"
        )
    gate = Gate(objective.metric, operator, float(limit or 1.0), bool(times or alone))
    if gate.limit == 0 and (gate.of_published or metric_info(gate.metric).positive or operator == ">="):
        raise BadInput("asks for nothing, or for what can never be", setting="gate", value=repr(text), fix=_EXAMPLE)
    return gate


def judge_gate(gate: Gate, ours: Sequence[float], published: Sequence[float] | None, *, gates: int = 1) -> GateResult:
    """`ours`, `published`: values of the metric, one a window; `published` None: nothing is. `gates`: how many share the error."""
    if not ours:
        return GateResult(str(gate), Standing.UNDECIDED, f"{gate.metric} was not measured in this study")
    if not gate.of_published:
        return _against_number(gate, ours, ERROR_RATE / gates)
    if not published:
        return GateResult(
            str(gate), Standing.UNDECIDED, f"{gate.metric} is not published for this model, accelerator, workload and objective"
        )
    interval = welch_interval(ours, published, ERROR_RATE / gates)
    if interval is None:
        return GateResult(str(gate), Standing.UNDECIDED, "too few windows, or too noisy, for an interval")
    told = f"{change(interval[0])} to {change(interval[1])} against what is published"
    return GateResult(str(gate), _standing(gate, interval), told)


def _against_number(gate: Gate, ours: Sequence[float], level: float) -> GateResult:
    interval = log_mean_interval(ours, level)
    if interval is None and min(ours) == 0 and len(set(ours)) == 1:
        interval = (0.0, 0.0)  # a count that is 0 in every window
    if interval is None:
        return GateResult(str(gate), Standing.UNDECIDED, "too few windows, or too noisy, for an interval")
    unit = metric_info(gate.metric).unit
    return GateResult(str(gate), _standing(gate, interval), f"{number(interval[0])} to {number(interval[1])} {unit}".rstrip())


def _standing(gate: Gate, interval: tuple[float, float]) -> Standing:
    low, high = interval
    if gate.operator == ">=":
        holds, fails = low >= gate.limit, high * (1 + ENGINE_BAND) < gate.limit
    else:
        holds, fails = high <= gate.limit, low / (1 + ENGINE_BAND) > gate.limit
    return Standing.HOLDS if holds else Standing.FAILS if fails else Standing.UNDECIDED
