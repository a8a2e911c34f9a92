"""Drawing request lengths from a distribution. Pure."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from tuner.workload.sources import FixedLength, LengthDistribution, LognormalLength, UniformLength


def draw_lengths(distribution: LengthDistribution, count: int, rng: np.random.Generator) -> list[int]:
    """`count` lengths in tokens, each 1 or more."""
    match distribution:
        case FixedLength():
            return [distribution.value] * count
        case UniformLength():
            return [int(length) for length in rng.integers(distribution.low, distribution.high, count, endpoint=True)]
        case LognormalLength():
            drawn = np.rint(rng.lognormal(math.log(distribution.median), distribution.sigma, count))
            return [int(length) for length in np.clip(drawn, distribution.low, distribution.high)]
        case _:
            assert_never(distribution)
