"""Closed loops of which it is known by formula how many requests at once still meet an SLO: judges of searches for that number.

Independent of tuner.stats: numpy and textbook formulas only. Each request is sent when one before it ends, without a pause; times are
seconds. A window begins with all of its first requests at once, as a real one does.
"""

from __future__ import annotations

import math
from heapq import heapify, heapreplace

import numpy as np

from tests.oracles.queues import Queue, Slo, Times

SERVERS = 16
BASE_S, PER_REQUEST_S = 1.0, 0.05


def one_server(load: float, requests: int, random: np.random.Generator) -> Times:
    """First come first served, exponential services of 1 s: with n at once a request takes n services, gamma distributed."""
    at_once, ends = round(load), np.cumsum(random.exponential(1.0, requests))
    sent = np.concatenate([np.zeros(min(at_once, requests)), ends[: max(0, requests - at_once)]])
    return np.asarray(ends - sent)


def waits_of_servers(load: float, requests: int, random: np.random.Generator) -> Times:
    """16 servers, exponential services of 1 s: how long a request waits for one. With n at once n - 16 wait before it."""
    at_once, free, times = round(load), [0.0] * SERVERS, np.empty(requests)
    heapify(free)
    ends: list[float] = [0.0] * at_once
    heapify(ends)
    for index, service in enumerate(random.exponential(1.0, requests).tolist()):
        begun = max(ends[0], free[0])
        times[index] = begun - ends[0]
        heapreplace(free, begun + service)
        heapreplace(ends, begun + service)
    return times


def shared(load: float, requests: int, random: np.random.Generator) -> Times:
    """All share one server, as the requests of a batch do: 1 s and 50 ms for each, 10 % noise of a request and 2 % of a window."""
    mean = BASE_S + PER_REQUEST_S * round(load)
    noise = random.lognormal(-(0.1**2) / 2, 0.1, requests) * random.lognormal(-(0.02**2) / 2, 0.02)
    return np.asarray(mean * noise)


def gamma_beyond(shape: int, x: float) -> float:
    """P(gamma(shape, mean shape) > x): of so many exponential services of 1 s."""
    return math.exp(-x) * sum(x**k / math.factorial(k) for k in range(shape))


def _percentile(shape: float, share: float) -> float:
    """The time below which a share of gamma(shape) lies; between two whole shapes in the middle of theirs."""
    low, high = 0.0, 40.0 + 4 * shape
    for _ in range(60):
        middle = (low + high) / 2
        beyond = (gamma_beyond(math.floor(shape), middle) + gamma_beyond(math.ceil(shape), middle)) / 2
        low, high = (middle, high) if beyond > 1 - share else (low, middle)
    return low


CLOSED_LOOPS = (
    Queue("one server, p99", one_server, (Slo(99, _percentile(20.5, 0.99)),), 50.0, 20.0),
    Queue("one server, mean", one_server, (Slo(None, 40.5),), 100.0, 40.0),
    Queue("16 servers, p95 of the wait", waits_of_servers, (Slo(95, _percentile(24.5, 0.95) / SERVERS),), 100.0, 40.0),
    Queue("shared, mean", shared, (Slo(None, BASE_S + PER_REQUEST_S * 64.5),), 160.0, 64.0),
    Queue("shared, p99, few at once", shared, (Slo(99, (BASE_S + PER_REQUEST_S * 5.5) * math.exp(0.1 * 2.326 - 0.005)),), 16.0, 5.0),
)
