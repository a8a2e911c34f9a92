"""Queues of which it is known at which rate of arrivals an SLO stops to hold in the long run: judges of searches for that rate.

Independent of tuner.stats: numpy and textbook formulas only. Times are seconds, rates are requests/s; every service takes 1 s on average
but that of the batch server. A window begins with an empty queue.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray

type Times = NDArray[np.float64]
type Simulated = Callable[[float, int, np.random.Generator], Times]

LONG_RUN = 400_000  # requests from which the edge of a queue without a formula is known, to about 0.5 %
HALVINGS = 11


@dataclass(frozen=True)
class Slo:
    """`percentile` of the times, or their mean where it is None, is at most `limit_s`."""

    percentile: float | None
    limit_s: float

    def value(self, times: Times) -> float:
        return float(times.mean() if self.percentile is None else np.percentile(times, self.percentile))


@dataclass(frozen=True)
class Queue:
    """`times(rate, requests, random)`: of each request, as its SLOs count it. `capacity`: requests/s that it can serve at most.
    `known_edge`: by formula; None: by a long simulation."""

    name: str
    times: Simulated
    slos: tuple[Slo, ...]
    capacity: float
    known_edge: float | None = None

    def window(self, rate: float, requests: int, random: np.random.Generator) -> Times:
        return self.times(rate, requests, random)

    @property
    def edge(self) -> float:
        return self.known_edge if self.known_edge is not None else _long_run_edge(self)


@cache
def _long_run_edge(queue: Queue) -> float:
    low, high = 0.0, queue.capacity
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        times = queue.times(middle, LONG_RUN, np.random.default_rng(1))
        if all(slo.value(times) <= slo.limit_s for slo in queue.slos):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _arrivals(rate: float, requests: int, random: np.random.Generator) -> Times:
    return np.cumsum(random.exponential(1 / rate, requests))


def _one_server(arrivals: Times, services: Times) -> Times:
    """Times in the system, first come first served (Lindley's recursion, unrolled)."""
    busy = np.cumsum(services)
    return np.asarray(busy + np.maximum.accumulate(arrivals - (busy - services)) - arrivals)


def exponential(rate: float, requests: int, random: np.random.Generator) -> Times:
    """M/M/1: the time in the system is exponential with mean 1 / (1 - rate)."""
    return _one_server(_arrivals(rate, requests, random), random.exponential(1.0, requests))


def lognormal(rate: float, requests: int, random: np.random.Generator) -> Times:
    """M/G/1 with services of a coefficient of variation of 1.3."""
    return _one_server(_arrivals(rate, requests, random), random.lognormal(-0.5, 1.0, requests))


def sixteen_servers(rate: float, requests: int, random: np.random.Generator) -> Times:
    """M/G/16 with the same services; the first token comes after a tenth of the service."""
    free = [0.0] * 16
    heapify(free)
    times = np.empty(requests)
    arrivals, services = _arrivals(rate, requests, random).tolist(), random.lognormal(-0.5, 1.0, requests).tolist()
    for index, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
        begun = max(arrival, free[0])
        heapreplace(free, begun + service)
        times[index] = begun + 0.1 * service - arrival
    return times


BATCH, STEP_S, PER_REQUEST_S = 64, 1.0, 0.02


def batches(rate: float, requests: int, random: np.random.Generator) -> Times:
    """A server that takes all that wait, at most 64, and needs 1 s and 20 ms for each."""
    arrivals = _arrivals(rate, requests, random)
    times, done, now = np.empty(requests), 0, 0.0
    while done < requests:
        now = max(now, float(arrivals[done]))
        taken = min(done + BATCH, int(np.searchsorted(arrivals, now, side="right")))
        now += STEP_S + PER_REQUEST_S * (taken - done)
        times[done:taken] = now - arrivals[done:taken]
        done = taken
    return times


QUEUES = (
    Queue("M/M/1 at 0.7", exponential, (Slo(99, math.log(100) / 0.3),), 1.0, 0.7),
    Queue("M/M/1 at 0.85", exponential, (Slo(99, math.log(100) / 0.15),), 1.0, 0.85),
    Queue("M/M/1, mean", exponential, (Slo(None, 1 / 0.28),), 1.0, 0.72),
    Queue("M/M/1, p99 and mean", exponential, (Slo(99, math.log(100) / 0.3), Slo(None, 1 / 0.32)), 1.0, 0.68),
    Queue("M/G/1, p95", lognormal, (Slo(95, 12.0),), 1.0),
    Queue("M/G/16, p99", sixteen_servers, (Slo(99, 2.0),), 16.0),
    Queue("batches of 64, p99", batches, (Slo(99, 4.0),), BATCH / (STEP_S + BATCH * PER_REQUEST_S)),
)
