"""What each level of each setting is worth on average over the cells, from the values of a study's search trials. Pure.

A level is compared with the baseline level of its setting (vLLM's own where it was tried) only in cells that have both: the same levels of
all else. Settings that an engine changes while it runs: each cell is one value. Cold ones: all cells of two engines are one value, because
a start of an engine shifts them together (docs/decisions, 0022). The interval is Student's t over these values, 95 % for each level by
itself; it holds their differences between cells (interactions) as well as noise. None from one value.

Pictures and tables only: no verdict, and nothing is recommended from it. Where a level was not tried in every cell, its average is one of
other cells than its neighbour's, and the two must not be compared (`balanced`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from storage.records import Json, Stage, Study, Trial, TrialState
from tuner.core.contract import ARM_DEFAULT
from tuner.core.contrast import ARM, CHUNK_BUDGET, PAGE_SIZE, Contrast, baseline_level
from tuner.core.factors import Level, cold_factors, factors_of, in_order
from tuner.metrics.objective import Objective
from tuner.setup.stored_study import StoredStudy
from tuner.stats.intervals import ERROR_RATE
from tuner.stats.student import two_sided_critical
from tuner.verdict.evidence import TWIN_OF

type _Rest = tuple[tuple[str, Level], ...]
type _Values = dict[Level, dict[_Rest, float]]


@dataclass(frozen=True)
class MainEffect:
    """In percent of the baseline level's value. `cells`: the change in each cell that has both levels; `of_cells`: that has either.
    `values`: what the interval comes from, cells or pairs of engines. `balanced`: every level of the factor was tried in every cell."""

    factor: str
    level: Level
    baseline: Level
    kind: str  # "live" or "cold"
    change: float
    low: float | None
    high: float | None
    cells: tuple[float, ...]
    of_cells: int
    values: int
    balanced: bool

    @property
    def noun(self) -> str:
        return Contrast(self.factor).noun

    def to_json(self) -> Json:
        return {**asdict(self), "cells": len(self.cells), "least": min(self.cells), "most": max(self.cells)}


def main_effects(study: Study, trials: Sequence[Trial], objective: Objective, defaults: Mapping[str, Any]) -> list[MainEffect]:
    """By setting and level; [] where nothing varies. `defaults`: vLLM's own levels, as far as known.

    Raises BadInput for a damaged study.
    """
    values = _values_of(trials, objective)
    contrast = StoredStudy.from_record(study).contrast
    names = [PAGE_SIZE, CHUNK_BUDGET, ARM, *sorted({name for trial, _ in values for name in trial.factors})]
    found = []
    for name in names:
        by_level = _by_level(values, name)
        levels = sorted(by_level, key=lambda level: in_order((("", level),)))
        if len(levels) > 1:
            own = contrast.baseline if name == contrast.name else ARM_DEFAULT if name == ARM else defaults.get(name)
            found += _of_factor(by_level, levels, Contrast(name, baseline_level(levels, own)))
    return found


def _values_of(trials: Sequence[Trial], objective: Objective) -> list[tuple[Trial, float]]:
    """Of measured search trials of the commonest environment; of one configuration the last counts."""
    done = [
        trial
        for trial in trials
        if trial.stage is Stage.SEARCH and trial.state is TrialState.COMPLETE and TWIN_OF not in trial.notes and trial.values
    ]
    commonest = Counter(trial.environment for trial in done).most_common(1)
    values = [(trial, (trial.values or {}).get(objective.name)) for trial in done if trial.environment == commonest[0][0]]
    return [(trial, float(value)) for trial, value in values if isinstance(value, int | float) and value > 0]


def _by_level(values: Sequence[tuple[Trial, float]], name: str) -> _Values:
    found: _Values = {}
    contrast = Contrast(name)
    for trial, value in values:
        if name in trial.factors or name in (PAGE_SIZE, CHUNK_BUDGET, ARM):
            found.setdefault(contrast.level(trial), {})[contrast.rest(trial)] = math.log(value)
    return found


def _of_factor(by_level: _Values, levels: Sequence[Level], contrast: Contrast) -> list[MainEffect]:
    """Of each level but the baseline's that shares a cell with it."""
    first = by_level[contrast.baseline]
    every = {rest for cells in by_level.values() for rest in cells}
    balanced = all(len(by_level[level]) == len(every) for level in levels)
    found = []
    for level in levels:
        logs = {rest: value - first[rest] for rest, value in by_level[level].items() if rest in first}
        if level == contrast.baseline or not logs:
            continue
        units = _by_engines(logs) if contrast.cold else list(logs.values())
        half = _half_width(units)
        ends = (None, None) if half is None else (_percent(fmean(units) - half), _percent(fmean(units) + half))
        found.append(
            MainEffect(
                factor=contrast.name,
                level=level,
                baseline=contrast.baseline,
                kind="cold" if contrast.cold else "live",
                change=_percent(fmean(units)),
                low=ends[0],
                high=ends[1],
                cells=tuple(sorted(map(_percent, logs.values()))),
                of_cells=len(by_level[level].keys() | first.keys()),
                values=len(units),
                balanced=balanced,
            )
        )
    return found


def _by_engines(logs: Mapping[_Rest, float]) -> list[float]:
    """One value for each pair of engines: the mean over the cells that they share."""
    groups: dict[_Rest, list[float]] = {}
    for rest, value in logs.items():
        cold = cold_factors(factors_of({name: level for name, level in rest if name not in (CHUNK_BUDGET, ARM)}))
        groups.setdefault(cold, []).append(value)
    return [fmean(values) for values in groups.values()]


def _half_width(logs: Sequence[float]) -> float | None:
    """Of Student's 95 % interval of the mean; None from one value."""
    return None if len(logs) < 2 else two_sided_critical(ERROR_RATE, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))


def _percent(log: float) -> float:
    return 100 * math.expm1(log)
