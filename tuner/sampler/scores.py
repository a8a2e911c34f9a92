"""Results on one scale, whatever their unit. Pure."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from tuner.sampler.grid import Array

_FENCE = 1.5  # interquartile ranges beyond the quartiles
_FAR = 2.5
_DISTANCE = 0.8  # its share in a score


def normal_scores(values: Array, violations: Array | None = None) -> Array:
    """[n]: the standard normal quantile of (rank - 1/2) / n; higher is better, equal values get equal scores.

    Ranks make the search indifferent to the unit and to a handful of absurd values, and `minimise x` the same as `maximise -x`.
    `violations` [n], 0 where all constraints hold: what breaks one ranks below everything that breaks none, the more the lower, whatever
    its value (Deb, "An efficient constraint handling method for genetic algorithms", 2000).
    """
    count = len(values)
    broken = np.zeros(count) if violations is None else violations
    kept = np.where(broken > 0, 0.0, values)
    order = np.lexsort((kept, -broken))
    quantile = NormalDist().inv_cdf
    scores = np.array([quantile((rank + 0.5) / count) for rank in range(count)])
    broken, kept = broken[order], kept[order]
    same = np.zeros(count, dtype=bool)  # as the one below it
    same[1:] = (broken[1:] == broken[:-1]) & (kept[1:] == kept[:-1])
    starts = np.flatnonzero(~same)
    sizes = np.diff(np.append(starts, count))
    result = np.empty(count)
    result[order] = np.repeat(np.add.reduceat(scores, starts) / sizes, sizes)
    return result


def search_scores(values: Array, violations: Array) -> Array:
    """[n]: mostly how far a result is from their mean in standard deviations, and a little its normal score.

    Distances say how much an option is worth, which ranks of few results do not. What lies beyond Tukey's fences ("Exploratory data
    analysis", 1977) is moved there first: else a few very bad results, or absurd ones, would make all good ones look alike. What breaks
    constraints ranks below all others, by its normal score.
    """
    ranks = normal_scores(values, violations)
    fine = violations <= 0
    if not fine.any():
        return ranks
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.quantile(values[fine], [0.25, 0.75])
        beyond = _FENCE * (high - low)
        within = np.clip(values, low - beyond, high + beyond) if high > low else values
        spread = within[fine].std()
        if not (np.isfinite(spread) and spread > 0 and np.ptp(within[fine]) > 0):  # of equal numbers it can be a rounding error
            return ranks
        standard = np.clip((within - within[fine].mean()) / spread, -_FAR, _FAR)
    standard[~fine] = standard[fine].min()
    scores: Array = _DISTANCE * standard + (1 - _DISTANCE) * ranks
    return scores


def pareto_values(values: Array, violations: Array) -> Array:
    """[n]: one number for `values` [n x objectives], higher is better; of one objective it is that objective.

    The number of the front a result lies on (0 is the Pareto front, -1 what would be one without it, ...) plus, below one half, how
    lonely it is there: the order of NSGA-II (Deb et al., 2002), which keeps the search spread along the front. Only results without
    `violations` [n] are compared; the others are ranked by their violations anyway (`normal_scores`).
    """
    if values.shape[1] == 1:
        return values[:, 0]
    result = np.zeros(len(values))
    left = np.flatnonzero(violations <= 0)
    front = 0
    while len(left):
        points = values[left]
        as_good = np.all(points[None, :, :] >= points[:, None, :], axis=2)
        better = np.any(points[None, :, :] > points[:, None, :], axis=2)
        here = ~np.any(as_good & better, axis=1)
        result[left[here]] = -front + _loneliness(points[here])
        left, front = left[~here], front + 1
    return result


def _loneliness(points: Array) -> Array:
    """[n], within 0 and 0.49: the sum over the objectives of the gap between a point's neighbours, endpoints loneliest."""
    gaps = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = max(float(column[order[-1]] - column[order[0]]), 1e-300)
        gaps[order[[0, -1]]] = np.inf
        if len(points) > 2:
            gaps[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    finite = np.where(np.isinf(gaps), 0.0, gaps)
    return 0.49 * np.where(np.isinf(gaps), 1.0, finite / (finite + 1))
