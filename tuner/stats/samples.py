"""The typical log-ratio of a cell and how well it is known: the mean of few pairs, the trimmed mean of many. Pure.

Estimated is the typical window, not the average one: now and then a window is far slower because something else ran, and the more pairs
there are, the more of them are such. Below ROBUST_FROM pairs an estimate that leaves values out knows too little of the noise: it is the
mean, with Student's standard error. From there on it is the mean without the fifth of the values at each end, with the standard error from
the winsorised variance and h - 1 degrees of freedom, h being the number of values kept (Yuen 1974, "The two-sample trimmed t for unequal
population variances"; Tukey and McLaughlin 1963 for one sample). It takes up to a fifth of bad values on one side. What bad windows cost
in the tail is told by the p99 metrics, not by this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from tuner.stats.student import p_of_one, two_sided_critical

ROBUST_FROM = 12  # pairs from which the estimate is trimmed
TRIMMED = 0.2  # fraction of the values left out at each end
NOISE_FLOOR = 0.5  # of the median noise of a family's cells: no cell is taken to be quieter
MIN_CELLS_FOR_FLOOR = 3
UNBOUNDED = math.log(1e6)  # an interval that reaches further from its middle says nothing: two rounds of much noise give such ones


@dataclass(frozen=True)
class Sample:
    """`pairs` log-ratios: their (trimmed) mean, and the noise `sd` of a pair, so that sd / sqrt(pairs) is the standard error.
    `trimmed`: how many values are left out at each end."""

    pairs: int
    mean: float
    sd: float
    trimmed: int = 0

    @property
    def df(self) -> int:
        return self.pairs - 2 * self.trimmed - 1

    @property
    def standard_error(self) -> float:
        return self.sd / math.sqrt(self.pairs)

    def half_width(self, level: float) -> float:
        """Half the width of the interval on the log scale; `level` = 1 - confidence."""
        return two_sided_critical(level, self.df) * self.standard_error

    def p_at(self, log: float) -> float:
        """The level at which an end of the interval is exactly `log`: below it the interval holds `log`, above it does not."""
        away = min(abs(self.mean - log), UNBOUNDED)
        if self.standard_error == 0:
            return 0.0 if away > 0 else 1.0
        return p_of_one(away / self.standard_error, self.df)

    def at_least(self, noise: float) -> Sample:
        """The same with a `sd` of `noise` or more."""
        return self if self.sd >= noise else replace(self, sd=noise)


def sample_of(log_ratios: Sequence[float]) -> Sample:
    """Mean and standard deviation. Raises ValueError below two values. Sums are exact (math.fsum), so that the order of rounds cannot
    matter."""
    count = len(log_ratios)
    if count < 2:
        raise ValueError("a sample needs two pairs or more")
    mean = math.fsum(log_ratios) / count
    return Sample(count, mean, math.sqrt(math.fsum((value - mean) ** 2 for value in log_ratios) / (count - 1)))


def typical_of(log_ratios: Sequence[float]) -> Sample:
    """What cells are judged by, see the module's text. Raises ValueError below two values."""
    trimmed = trimmed_at(len(log_ratios))
    return _trimmed_sample(log_ratios, trimmed) if trimmed else sample_of(log_ratios)


def expected_at(log_ratios: Sequence[float], pairs: int) -> Sample:
    """What typical_of is expected to give after `pairs` pairs if the location and the noise of these log-ratios stay as they are. Raises
    ValueError below two values."""
    trimmed = trimmed_at(pairs)
    now = _trimmed_sample(log_ratios, int(TRIMMED * len(log_ratios))) if trimmed else sample_of(log_ratios)
    return Sample(pairs, now.mean, now.sd, trimmed)


def trimmed_at(pairs: int) -> int:
    """How many of this many values are left out at each end."""
    return int(TRIMMED * pairs) if pairs >= ROBUST_FROM else 0


def t_of_rows(rows: NDArray[np.floating]) -> tuple[NDArray[np.float64], int]:
    """([N] typical_of's mean / standard error of each row of [N x pairs], degrees of freedom)."""
    pairs = rows.shape[1]
    trimmed = trimmed_at(pairs)
    kept = pairs - 2 * trimmed
    values = np.sort(rows, axis=1) if trimmed else rows
    ones = np.ones(pairs, dtype=rows.dtype)
    mean = values[:, trimmed : pairs - trimmed] @ ones[:kept] / kept
    if trimmed:
        values[:, :trimmed] = values[:, trimmed, None]
        values[:, pairs - trimmed :] = values[:, pairs - trimmed - 1, None]
    away = values - (values @ ones / pairs)[:, None]
    squares = np.maximum(np.einsum("ij,ij->i", away, away), 1e-30)
    return np.asarray(mean / np.sqrt(squares / (kept * (kept - 1))), dtype=float), kept - 1


def noise_floor(samples: Iterable[Sample]) -> float:
    """The least noise that any cell of a family is taken to have; 0 for fewer than MIN_CELLS_FOR_FLOOR cells that have any.

    Three windows of one arm may all be hit, or all be spared, by what hits every seventh: the cell looks as if it had no noise at all.
    Its neighbours tell what noise is.
    """
    found = [sample.sd for sample in samples if sample.sd > 0]
    return NOISE_FLOOR * median(found) if len(found) >= MIN_CELLS_FOR_FLOOR else 0.0


def _trimmed_sample(log_ratios: Sequence[float], trimmed: int) -> Sample:
    """Raises ValueError below two values."""
    if not trimmed:
        return sample_of(log_ratios)
    count = len(log_ratios)
    ordered = sorted(log_ratios)
    kept = ordered[trimmed : count - trimmed]
    winsorised = [kept[0]] * trimmed + kept + [kept[-1]] * trimmed
    centre = math.fsum(winsorised) / count
    squares = math.fsum((value - centre) ** 2 for value in winsorised)
    return Sample(count, math.fsum(kept) / len(kept), math.sqrt(squares * count / (len(kept) * (len(kept) - 1))), trimmed)
