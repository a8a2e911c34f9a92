"""The effect over all cells of a study: a meta-analysis of the cells' effects. Pure.

With three cells or more: random effects, tau^2 by Paule and Mandel (1982), interval by Hartung-Knapp-Sidik-Jonkman with the scale factor
held at 1 or more (Jackson et al. 2017, "The Hartung-Knapp modification for random-effects meta-analysis"). It speaks of cells like the
measured ones. With one or two cells nothing can be said about others: the interval is then that of the mean of just these cells.
Those measure until they are decided, so their mean needs the same correction for repeated analyses as a cell (one cell pooled is that
cell); between several cells that stopped at times of their own, the spread covers it (`python -m bench.null_and_power`).
A cell's noise is estimated from a handful of rounds, so all cells share the pooled estimate; weights from own estimates would be mostly
noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.metrics.catalog import Direction
from tuner.stats.intervals import ERROR_RATE, Verdict, verdict_of
from tuner.stats.samples import UNBOUNDED, Sample
from tuner.stats.sequential import InterimPlan
from tuner.stats.student import two_sided_critical

MIN_CELLS_FOR_RANDOM_EFFECTS = 3


@dataclass(frozen=True)
class PooledEffect:
    """`ratio`, candidate / baseline, with an interval of 1 - `level` over all analyses. `between_sd`: standard deviation of the cells' true
    log-ratios."""

    cells: int
    pairs: int
    ratio: float
    low: float
    high: float
    verdict: Verdict
    method: str  # "random_effects" or "mean_of_cells"
    between_sd: float | None = None
    level: float = ERROR_RATE


def pool(
    samples: Sequence[Sample],
    direction: Direction,
    *,
    level: float = ERROR_RATE,
    plan: InterimPlan | None = None,
) -> PooledEffect | None:
    """Pool the cells' samples (two pairs or more each). None without a cell, and where the interval is UNBOUNDED.

    `plan`: the interim analyses of the rounds; cells before the first one are left out. None: analysed once.
    """
    if plan is not None:
        samples = [sample for sample in samples if sample.pairs >= plan.first]
    if not samples:
        return None
    means = np.array([sample.mean for sample in samples])
    counts = np.array([sample.pairs for sample in samples])
    noise_df = sum(sample.df for sample in samples)
    noise_variance = max(math.fsum(sample.df * sample.sd**2 for sample in samples) / noise_df, 1e-24)
    variances = noise_variance / counts
    if len(samples) >= MIN_CELLS_FOR_RANDOM_EFFECTS:
        centre, error, between = _random_effects(means, variances)
        half = two_sided_critical(level, len(samples) - 1) * error
        method, between_sd = "random_effects", math.sqrt(between)
    else:
        centre = float(means.mean())
        own_level = level if plan is None else plan.level_at(int(counts.min()), level)
        half = two_sided_critical(own_level, noise_df) * math.sqrt(float(variances.sum())) / len(samples)
        method, between_sd = "mean_of_cells", None
    if half > UNBOUNDED:
        return None
    low, high = math.exp(centre - half), math.exp(centre + half)
    verdict = verdict_of(low, high, direction)
    return PooledEffect(
        cells=len(samples),
        pairs=int(counts.sum()),
        ratio=math.exp(centre),
        low=low,
        high=high,
        verdict=verdict,
        method=method,
        between_sd=between_sd,
        level=level,
    )


def _random_effects(means: NDArray[np.float64], variances: NDArray[np.float64]) -> tuple[float, float, float]:
    """(centre, standard error, tau^2)."""
    between = _paule_mandel(means, variances)
    weights = 1 / (variances + between)
    centre = float(np.sum(weights * means) / weights.sum())
    scale = float(np.sum(weights * (means - centre) ** 2)) / (len(means) - 1)
    return centre, math.sqrt(max(1.0, scale) / float(weights.sum())), between


def _paule_mandel(means: NDArray[np.float64], variances: NDArray[np.float64]) -> float:
    """The tau^2 >= 0 for which the weighted sum of squares equals its expectation, cells - 1, by bisection."""

    def surplus(between: float) -> float:
        weights = 1 / (variances + between)
        centre = np.sum(weights * means) / weights.sum()
        return float(np.sum(weights * (means - centre) ** 2)) - (len(means) - 1)

    if surplus(0.0) <= 0:
        return 0.0
    low, high = 0.0, float(np.var(means, ddof=1)) + float(variances.max())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return high
