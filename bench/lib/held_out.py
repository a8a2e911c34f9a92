"""How good predictions of configurations are that were left out of the fit: errors, order, intervals. Pure.

Intervals are cross-conformal (Vovk, "Cross-conformal predictors", 2015): a configuration's ends are quantiles of measured / predicted of
the configurations in other folds, each predicted by a fit that had left it out, with the finite-sample rank of split conformal prediction
(the ceil((n + 1) q)-th of n). So they hold what windows vary by, the error of the fit, and what the model leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.90
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One configuration's number, measured and as predicted by a fit that never saw its `fold`. Both above 0."""

    fold: Hashable
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Of the prediction, as a fraction of what was measured, with its sign."""
        return self.predicted / self.measured - 1


def intervals(items: Sequence[Comparison]) -> list[tuple[float, float]]:
    """[items]: where 90 % of measured values lie, judged by the other folds. Raises ValueError for a single fold."""
    found = []
    for item in items:
        ratios = sorted(other.measured / other.predicted for other in items if other.fold != item.fold)
        if not ratios:
            raise ValueError("an interval needs a second fold")
        last = len(ratios) - 1
        rank = math.ceil((len(ratios) + 1) * (1 + LEVEL) / 2) - 1
        found.append((item.predicted * ratios[max(0, last - rank)], item.predicted * ratios[min(last, rank)]))
    return found


def coverage(items: Sequence[Comparison]) -> float:
    """The fraction of measured values in their intervals."""
    return float(np.mean([low <= item.measured <= high for item, (low, high) in zip(items, intervals(items), strict=True)]))


def median_error(items: Sequence[Comparison]) -> float:
    """The median absolute error, as a fraction."""
    return float(np.median([abs(item.error) for item in items]))


def spearman(items: Sequence[Comparison]) -> float:
    """Rank correlation of predicted and measured; equal values share their mean rank. NaN where all are equal."""
    first, second = (_ranks(np.array(values)) for values in zip(*((item.predicted, item.measured) for item in items), strict=True))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    """[values]: mean rank of each, from 0."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count) - 1
    return np.asarray((last - (count - 1) / 2)[place], dtype=np.float64)
