"""The bench of the search for the highest rate judges ours and the others alike."""

from __future__ import annotations

import numpy as np
import pytest

from bench import capacity_search
from tests.oracles.closed_loops import CLOSED_LOOPS
from tests.oracles.queues import QUEUES, Queue


@pytest.fixture
def queue() -> Queue:
    """M/M/1 with a formula for its edge."""
    return QUEUES[2]


@pytest.mark.slow
def test_a_line_holds_the_errors_of_all_three_and_says_whether_the_bars_are_met(queue: Queue) -> None:
    text, met, covered = capacity_search.line(queue, seeds=3, requests=1000)
    assert text.startswith("M/M/1, mean")
    assert text.count("%") == 8
    assert isinstance(met, bool)
    assert 0 <= covered <= 1


@pytest.mark.slow
@pytest.mark.parametrize("loop", CLOSED_LOOPS, ids=lambda loop: loop.name)
def test_the_number_that_a_formula_gives_is_found_and_the_next_one_fails(loop: Queue) -> None:
    found = capacity_search.searched(loop, 1, 1000)
    assert found.covered and found.error * loop.edge <= max(1, 0.05 * loop.edge) and found.windows <= 12
    random = np.random.default_rng(7)
    sides = [[slo.value(loop.window(load, 40_000, random)) <= slo.limit_s for slo in loop.slos] for load in (loop.edge, loop.edge + 1)]
    assert sides == [[True], [False]]


def test_the_sweep_errs_by_its_step(queue: Queue) -> None:
    """Rates are a twelfth of the capacity apart: 8/12 holds, 9/12 does not."""
    assert capacity_search.swept(queue, 0, 20_000) == pytest.approx(1 - 8 / 12 / 0.72)


def test_the_bisection_comes_near(queue: Queue) -> None:
    assert capacity_search.halved(queue, 0, 20_000) < 0.05


def test_our_search_comes_nearer_with_longer_windows(queue: Queue) -> None:
    found = capacity_search.searched(queue, 0, 20_000)
    assert found.error < 0.03
    assert found.windows <= 12
