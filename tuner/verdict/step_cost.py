"""Which fraction of a study's engine time goes with padded tokens and which with the number of steps, from its own windows. Pure.

The chunk budgets of one engine and one arm share the rounds, and differ in the number n of steps and P of padded tokens of a window. Their
engine times E follow

    log E = (engine, round) + log((1 - w) * n / n0 + w * P / P0)        n0, P0: medians of the study's cells

with one unknown w in [0, 1]: the fraction that goes with padded tokens. It is fitted by least squares to the differences of budgets from
one of them (each the median over their common rounds, so that a disturbed window counts little), on a grid. Differences d from one budget
have the covariance I + 11', and so the sum of squares sum(d^2) - sum(d)^2 / budgets. The interval is Student's: where that sum exceeds its
minimum by the factor 1 + t^2 / df. The two arms are never compared with each other here: what is to be explained must
not explain itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.stats.student import two_sided_critical

_GRID = np.linspace(0.0, 1.0, 201)
_LEVEL = 0.05

type Engine = Hashable  # one engine and arm: the windows of its budgets share rounds


@dataclass(frozen=True)
class WindowSteps:
    """What a window's steps were: numbers of steps and tokens of the whole window, `engine_ms` the summed time of its steps."""

    steps: int
    scheduled_tokens: int
    padded_tokens: int
    prefill_tokens: int
    engine_ms: float


@dataclass(frozen=True)
class StepCost:
    """`padded_fraction` of the engine time goes with padded tokens, the rest with steps; None, between 0 and 1, where the study cannot
    tell. `typical`: (n0, P0). `differences`: of budgets, that it was fitted to."""

    typical: tuple[float, float]
    padded_fraction: float | None
    low: float = 0.0
    high: float = 1.0
    differences: int = 0

    def relative_time(self, steps: float, padded_tokens: float, fraction: float) -> float:
        """Engine time of such a window, in units of a typical one."""
        return (1 - fraction) * steps / self.typical[0] + fraction * padded_tokens / self.typical[1]


def step_cost[Budget](engines: Mapping[Engine, Mapping[Budget, Mapping[int, WindowSteps]]]) -> StepCost | None:
    """`engines`: engine and arm -> chunk budget, or what else is live -> round -> window. None where no window saw a step."""
    windows = [window for budgets in engines.values() for rounds in budgets.values() for window in rounds.values()]
    if not windows:
        return None
    typical = statistics.median(item.steps for item in windows), statistics.median(item.padded_tokens for item in windows)
    unknown = StepCost(typical, None)
    found = [rows for budgets in engines.values() if (rows := _differences(unknown, list(budgets.values())))]
    count = sum(map(len, found))
    if count < 2:
        return unknown
    misfit = np.sum([np.sum(np.square(rows), axis=0) - np.sum(rows, axis=0) ** 2 / (len(rows) + 1) for rows in found], axis=0)  # [grid]
    best, df = int(np.argmin(misfit)), count - 1
    inside = _GRID[misfit <= misfit[best] * (1 + two_sided_critical(_LEVEL, df) ** 2 / df) + 1e-12]
    if inside[-1] - inside[0] > 0.9:  # says nothing: the budgets differ too little, or the machine is too noisy
        return StepCost(typical, None, differences=count)
    low, high = max(0.0, inside[0] - _GRID[1]), min(1.0, inside[-1] + _GRID[1])  # the grid's own error
    return StepCost(typical, float(_GRID[best]), float(low), float(high), count)


def _differences(cost: StepCost, budgets: Sequence[Mapping[int, WindowSteps]]) -> list[NDArray[np.float64]]:
    """Measured minus modelled log-ratio of engine times, [grid] for each budget but the one with most rounds."""
    reference = max(budgets, key=len)
    found = []
    for other in budgets:
        common = sorted(reference.keys() & other.keys()) if other is not reference else []
        pairs = [(reference[number], other[number]) for number in common]
        shapes = [(_shape(one), _shape(two)) for one, two in pairs]
        if all(one == two for one, two in shapes):  # equal steps and tokens say nothing about their costs
            continue
        measured = np.log([two.engine_ms / one.engine_ms for one, two in pairs])
        modelled = {key: _log_modelled(cost, key[1]) - _log_modelled(cost, key[0]) for key in set(shapes)}
        if len(modelled) == 1:  # the same in every round, as closed loops are
            found.append(np.median(measured) - modelled[shapes[0]])
        else:
            found.append(np.median(measured[:, None] - np.array([modelled[key] for key in shapes]), axis=0))
    return found


def _log_modelled(cost: StepCost, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Log of the modelled engine time, [grid]."""
    time = (1 - _GRID) * shape[0] / cost.typical[0] + _GRID * shape[1] / cost.typical[1]
    return np.asarray(np.log(time), dtype=np.float64)


def _shape(window: WindowSteps) -> tuple[int, int]:
    return window.steps, window.padded_tokens
