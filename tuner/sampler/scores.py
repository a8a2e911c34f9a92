"""Results on one scale, whatever their unit: normal scores. Pure."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from tuner.sampler.grid import Array


def normal_scores(values: Array, violations: Array | None = None) -> Array:
    """[n]: the standard normal quantile of (rank - 1/2) / n; higher is better, equal values get equal scores.

    Ranks make the search indifferent to the unit and to a handful of absurd values, and `minimise x` the same as `maximise -x`.
    `violations` [n], 0 where all constraints hold: what breaks one ranks below everything that breaks none, the more the lower, whatever
    its value (Deb, "An efficient constraint handling method for genetic algorithms", 2000).
    """
    broken = np.zeros(len(values)) if violations is None else violations
    keys = list(zip((-broken).tolist(), np.where(broken > 0, 0.0, values).tolist(), strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    quantile = NormalDist().inv_cdf
    scores = np.array([quantile((rank + 0.5) / len(keys)) for rank in range(len(keys))])
    result = np.empty(len(keys))
    first = 0
    for last in range(1, len(keys) + 1):
        if last == len(keys) or keys[order[last]] != keys[order[first]]:
            result[order[first:last]] = scores[first:last].mean()
            first = last
    return result
