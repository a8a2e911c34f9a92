"""Arrival times of an open loop, as vLLM's benchmark draws them. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def gamma_arrivals(count: int, request_rate: float, burstiness: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrival times in seconds, ascending, [count].

    Gaps are Gamma(shape = burstiness, scale = 1 / (request_rate x burstiness)): mean 1 / rate, coefficient of variation
    1 / sqrt(burstiness). As in vLLM (`vllm/benchmarks/serve.py: get_request`) the times are then stretched so that the last
    arrival is at exactly count / request_rate; an infinite rate sends everything at 0.
    """
    if count < 1 or not request_rate > 0 or not burstiness > 0:
        raise ValueError(f"need count >= 1, request_rate > 0 and burstiness > 0, got {count}, {request_rate}, {burstiness}")
    if math.isinf(request_rate):
        return np.zeros(count)
    if math.isinf(burstiness):
        gaps = np.full(count, 1.0 / request_rate)
    else:
        gaps = rng.gamma(burstiness, 1.0 / (request_rate * burstiness), size=count)
    times = np.cumsum(gaps)
    # A shape near 0 can underflow to gaps of 0 throughout: then everything comes in one burst, which nothing can stretch.
    return times * (count / request_rate / times[-1]) if times[-1] > 0 else times
