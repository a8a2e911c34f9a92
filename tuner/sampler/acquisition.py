"""What a measurement promises. Pure."""

from __future__ import annotations

import math

import numpy as np

from tuner.sampler.grid import Array
from tuner.sampler.posterior import Belief

_FAR_BELOW = -6.0  # standard deviations; further down the exact difference cancels out and the asymptotic form takes over


def log_expected_improvement(belief: Belief, best: float) -> Array:
    """[candidates]: log E[max(0, true score - best)]. With noise, `best` is the greatest expected score of what was measured.

    Sources: Mockus 1978; Picheny et al., "A benchmark of kriging-based infill criteria for noisy optimization", 2013 (plug-in incumbent);
    Ament et al., "Unexpected improvements to expected improvement", 2023 (why the logarithm).
    """
    z = (belief.mean - best) / belief.deviation
    near = np.maximum(z, _FAR_BELOW)
    density = np.exp(-(near**2) / 2) / math.sqrt(2 * math.pi)
    far = np.minimum(z, _FAR_BELOW)
    asymptotic = -(far**2) / 2 - 0.5 * math.log(2 * math.pi) - 2 * np.log(-far)
    gain: Array = np.log(belief.deviation) + np.where(z > _FAR_BELOW, np.log(density + near * _cumulative(near)), asymptotic)
    return gain


def _cumulative(z: Array) -> Array:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z.tolist()])
