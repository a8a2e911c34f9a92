"""Where a noisy rising curve crosses a limit: the highest load at which an SLO holds, from windows at several loads. Pure.

Bayes on a grid. One `Reading` is what a window at a load says of one criterion (an SLO, or that the engine keeps up):

    Ratio   log(metric / limit), below 0 where it holds. Noise: Student's t with 4 degrees of freedom, so that one disturbed window costs
            little. What has to hold is the mean over many windows, which lies above the typical one.
    Count   how many of the window's requests were above the limit of a percentile, of which 1 - p may be. Negative binomial: slow
            requests come in clusters. The typical window's percentile is lower than the percentile of all requests (M/M/1 at a load of
            0.7, p99 of 1000 requests: by an eighth); the mean of the counts is not. Where the percentile is far from the limit it says
            more than a count of 0 or 1 does, but only on which side the edge lies.
    Side    only whether it held: the window has no value (saturated), or none that a distance could be told from.

With d = log(load / edge) the expected Ratio, and the logarithm of the expected Count over the allowed one, is one of

    slope * d                            a latency that grows with the batch
    -log(1 - slope * (e^d - 1))          Ratio: time in system of M/M/1, slope = rho / (1 - rho) at the edge
    slope * (e^d - 1)                    Count: P(time in system > limit) of M/M/1

each for many slopes and sizes of the noise, all equally likely beforehand, as are all edges in their logarithm. (A steep queue has long
busy spells, so the clusters of a Count grow with the slope.) Far from the edge curves are wrong by a part of themselves (MISFIT): what was
measured there says on which side the edge lies, and little of where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

type Grid = NDArray[np.float64]

LARGEST = 3.0  # of an excess: beyond 20 times the limit the window's length is measured
MISFIT = 0.25  # of the curve's own excess: how far a real curve may be from all of these
LARGEST_COUNT = 25.0  # the same of a Count, whose curve is the steeper one ...
LEAST_COUNT = -4.0  # ... and ends where some requests are slow at any load
MOST_MISFIT = 1.0  # of a Count
SIDE_WIDTH, WRONG = 0.06, 0.01  # in log(load): how unsharp a Side is near the edge; how likely it is wrong anywhere
SLOPES = np.geomspace(0.3, 40.0, 11)
COUNT_SLOPES = np.geomspace(0.65, 45.0, 10)  # of log(1 / allowed): the slope of M/M/1 is that times rho / (1 - rho)
NOISES = np.geomspace(0.01, 1.0, 8)  # of a Ratio
CLUSTERS = np.geomspace(0.2, 32.0, 5)  # of a Count, for each unit of slope: the variance is 1 + clusters times the mean
FAR, FAR_SCALE = 1.0, 0.3  # of a Count's excess: beyond it the side is told by that, and how unsharply
COARSE, FINE = 49, 65  # edges on the grid: over all that is possible, then over what is left
TAIL = 1e-4  # probability that the fine grid may leave out at each end
T_DF = 4.0
INTERVAL = 0.98  # of the posterior: holds the edge in 95 % of searches (bench.capacity_search), as no real curve is one of these


@dataclass(frozen=True)
class Ratio:
    """`excess`: log(metric / limit)."""

    excess: float

    @property
    def held(self) -> bool:
        return self.excess <= 0


@dataclass(frozen=True)
class Count:
    """`above` of `total` requests were above the limit; a share of `allowed` may be. `excess`: log(percentile / limit) of the window."""

    above: int
    total: int
    allowed: float
    excess: float

    @property
    def held(self) -> bool:
        return self.above <= self.allowed * self.total


@dataclass(frozen=True)
class Side:
    held: bool


type Reading = Ratio | Count | Side


@dataclass(frozen=True)
class EdgeEstimate:
    """`edge`: median of the posterior; `low` to `high` is its 95 % interval. Loads, as in the readings."""

    edge: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Of the interval, as a fraction: 0.05 for +-5 %."""
        return math.sqrt(self.high / self.low) - 1


@dataclass(frozen=True)
class Posterior:
    """`weights` [edges] of the logarithms of edges, `at` [edges]; they add up to 1."""

    at: Grid
    weights: Grid

    def quantile(self, share: float) -> float:
        """The load below which the edge lies with this probability."""
        middles = np.cumsum(self.weights) - self.weights / 2
        return float(np.exp(np.interp(share, middles, self.at)))

    def estimate(self) -> EdgeEstimate:
        tail = (1 - INTERVAL) / 2
        return EdgeEstimate(self.quantile(0.5), self.quantile(tail), self.quantile(1 - tail))


def posterior(criteria: Sequence[Sequence[tuple[float, Reading]]], lowest: float, highest: float) -> Posterior:
    """Of the load at which the first of several criteria fails, between two loads; for each criterion its (load, reading)s.

    Criteria are taken for independent. Raises ValueError unless 0 < lowest < highest.
    """
    if not 0 < lowest < highest < math.inf:
        raise ValueError(f"loads from {lowest} to {highest} are no range")
    coarse = np.linspace(math.log(lowest), math.log(highest), COARSE)
    weights = _first_to_fail(criteria, coarse)
    step = coarse[1] - coarse[0]
    inside = np.flatnonzero((np.cumsum(weights) > TAIL) & (np.cumsum(weights[::-1])[::-1] > TAIL))
    fine = np.linspace(coarse[inside[0]] - step, coarse[inside[-1]] + step, FINE)
    return Posterior(fine, _first_to_fail(criteria, fine))


def _first_to_fail(criteria: Sequence[Sequence[tuple[float, Reading]]], edges: Grid) -> Grid:
    """[edges]: the edge of all is the smallest; one at or above the grid's end leaves the others alone."""
    beyond = np.ones(len(edges) + 1)
    for readings in criteria:
        weights = _weights(readings, edges)
        beyond *= np.concatenate([[1.0], np.clip(1 - np.cumsum(weights), 0.0, 1.0)])
    found = beyond[:-1] - beyond[1:]
    return np.asarray(found / found.sum(), dtype=np.float64)


def _weights(readings: Sequence[tuple[float, Reading]], edges: Grid) -> Grid:
    """[edges], slopes, noises and shapes summed out."""
    counts = [reading for _, reading in readings if isinstance(reading, Count)]
    slopes, noises = (-math.log(counts[0].allowed) * COUNT_SLOPES, CLUSTERS) if counts else (SLOPES, NOISES)
    total = np.zeros((2, len(edges), len(slopes), len(noises)))
    for load, reading in readings:
        away = math.log(load) - edges[:, None]
        if isinstance(reading, Side):
            total += _of_side(reading, away[:, :, None])
            continue
        for shape, curve in enumerate(_curves(away, slopes, counted=bool(counts))):
            total[shape] += _of_ratio(reading, curve) if isinstance(reading, Ratio) else _of_count(reading, curve, away[:, :, None], slopes)
    likelihood = np.exp(total - total.max()).sum(axis=(0, 2, 3))
    return np.asarray(likelihood / likelihood.sum(), dtype=np.float64)


def _curves(away: Grid, slopes: Grid, *, counted: bool) -> tuple[Grid, Grid]:
    """Both shapes at log(load / edge) [edges, 1], each [edges, slopes, 1]."""
    if counted:
        straight, other, least, most = slopes * away, slopes * np.expm1(away), LEAST_COUNT, LARGEST_COUNT
    else:
        left = np.maximum(1 - slopes * np.expm1(away), math.exp(-LARGEST))
        straight, other, least, most = slopes * away, -np.log(left), -LARGEST, LARGEST
    return np.clip(straight, least, most)[:, :, None], np.clip(other, least, most)[:, :, None]


def _of_ratio(reading: Ratio, curve: Grid) -> Grid:
    """Log-likelihood [edges, slopes, noises]."""
    scale = np.sqrt(NOISES**2 + (MISFIT * curve) ** 2)
    typical = curve - NOISES**2 / 2  # the mean of log-normal windows lies so much above their median
    excess = min(LARGEST, max(-LARGEST, reading.excess))
    return np.asarray(-np.log(scale) - (T_DF + 1) / 2 * np.log1p(((excess - typical) / scale) ** 2 / T_DF), dtype=np.float64)


def _of_side(reading: Side, away: Grid) -> Grid:
    """Log-likelihood [edges, 1, 1]: logistic in the distance."""
    towards = np.clip((-away if reading.held else away) / SIDE_WIDTH, -40, 40)
    return np.asarray(np.log(WRONG + (1 - 2 * WRONG) / (1 + np.exp(-towards))), dtype=np.float64)


def _of_count(reading: Count, curve: Grid, away: Grid, slopes: Grid) -> Grid:
    """Log-likelihood [edges, slopes, clusters]: negative binomial with the mean total * allowed * e^curve, at most the total."""
    mean = reading.total * np.minimum(reading.allowed * np.exp(curve), 1.0)
    clusters = slopes[:, None] * CLUSTERS + mean * np.minimum(MISFIT * np.abs(curve), MOST_MISFIT) ** 2
    size = mean / clusters
    far = math.copysign(max(0.0, abs(reading.excess) - FAR), reading.excess) / FAR_SCALE
    side = np.log(WRONG + (1 - 2 * WRONG) / (1 + np.exp(-np.clip(np.where(away > 0, far, -far), -40, 40))))
    return np.asarray(
        log_gamma(size + reading.above) - log_gamma(size) - size * np.log1p(clusters) - reading.above * np.log1p(1 / clusters) + side,
        dtype=np.float64,
    )


def log_gamma(x: Grid) -> Grid:
    """Of positive numbers, to 1e-10: Stirling's series after 8 steps of the recurrence (Abramowitz and Stegun 6.1.41)."""
    product = np.ones_like(x)
    for step in range(8):
        product = product * (x + step)
    y = x + 8
    series = 1 / (12 * y) - 1 / (360 * y**3) + 1 / (1260 * y**5) - 1 / (1680 * y**7)
    return np.asarray((y - 0.5) * np.log(y) - y + 0.5 * math.log(2 * math.pi) + series - np.log(product), dtype=np.float64)
