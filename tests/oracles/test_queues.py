"""The queues that searches are judged by: simulation and textbook agree."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.oracles.queues import QUEUES, Queue, Slo, batches, exponential, sixteen_servers

REQUESTS = 200_000


@pytest.mark.parametrize("rate", [0.5, 0.7])
def test_the_time_in_the_system_of_an_exponential_server_is_exponential(rate: float) -> None:
    times = exponential(rate, REQUESTS, np.random.default_rng(1))
    assert times.mean() == pytest.approx(1 / (1 - rate), rel=0.05)
    assert np.percentile(times, 99) == pytest.approx(math.log(100) / (1 - rate), rel=0.08)


def test_sixteen_idle_servers_make_nobody_wait() -> None:
    times = sixteen_servers(0.5, 20_000, np.random.default_rng(1))
    assert times.mean() == pytest.approx(0.1, rel=0.05)


def test_an_idle_batch_server_takes_each_request_alone() -> None:
    times = batches(0.001, 200, np.random.default_rng(1))
    assert np.median(times) == pytest.approx(1.02)


@pytest.mark.slow
def test_a_long_run_finds_the_edge_that_the_formula_knows() -> None:
    queue = Queue("again", exponential, (Slo(99, math.log(100) / 0.3),), 1.0)
    assert queue.edge == pytest.approx(0.7, rel=0.03)


@pytest.mark.parametrize("queue", [queue for queue in QUEUES if queue.known_edge is not None], ids=lambda queue: queue.name)
def test_at_a_known_edge_the_tightest_slo_is_just_met(queue: Queue) -> None:
    times = queue.window(float(queue.known_edge or 0), REQUESTS, np.random.default_rng(3))
    assert max(slo.value(times) / slo.limit_s for slo in queue.slos) == pytest.approx(1.0, rel=0.12)


@pytest.mark.slow
def test_the_typical_windows_percentile_is_lower_than_that_of_all_requests() -> None:
    """Why tuner.stats.edge counts slow requests: an eighth, for the p99 of 1000 requests of M/M/1 at a load of 0.7."""
    windows = [float(np.percentile(exponential(0.7, 1000, np.random.default_rng(seed)), 99)) for seed in range(400)]
    assert np.median(windows) / (math.log(100) / 0.3) == pytest.approx(0.88, abs=0.02)
