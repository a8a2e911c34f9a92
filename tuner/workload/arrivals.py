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


def ramp(times: NDArray[np.float64], rate: float, end_rate: float) -> NDArray[np.float64]:
    """Arrivals at a constant `rate` as arrivals at one that goes evenly from `rate` to `end_rate`, [count].

    The n-th comes when as many are due as at the constant rate: the inverse of L(t) = rate t + (end_rate - rate) t^2 / (2 T), where T is
    the time of the last, at which L is the number of all.
    """
    due = times * rate
    last = due[-1]
    if last <= 0:
        return times
    slope = (end_rate - rate) * (rate + end_rate) / (2 * last)  # T = 2 last / (rate + end_rate)
    ramped: NDArray[np.float64] = 2 * due / (rate + np.sqrt(np.maximum(rate**2 + 2 * slope * due, 0.0)))
    return ramped


def bursts(times: NDArray[np.float64], factor: float, every_s: float, length_s: float) -> NDArray[np.float64]:
    """Arrivals at a constant rate as ones that come `factor` times as fast in the last `length_s` of each `every_s` seconds, [count]."""
    quiet_s = every_s - length_s
    period = quiet_s + factor * length_s  # seconds of the constant rate that hold as many
    whole, rest = np.divmod(times, period)
    moved: NDArray[np.float64] = whole * every_s + np.where(rest < quiet_s, rest, quiet_s + (rest - quiet_s) / factor)
    return moved
