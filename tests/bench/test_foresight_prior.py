"""The bench's own arithmetic, on a grid that is made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.foresight_prior import Grid, errors, played, rank_correlation, window_spread
from tests.tuner.search.hill import SPACE, value
from tests.tuner.workbench import config_of
from tuner.metrics.catalog import Direction
from tuner.search.proposer import Observation, Seconds
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study


@pytest.fixture
def grid() -> Grid:
    space = prepare_study(config_of("s", **SPACE)).space
    windows = {item: [value(item) * factor for factor in (0.999, 1.0, 1.001)] for item in space.configurations}
    return Grid(space, windows, 1, 2, Seconds(10.0, 1.0))


def predicted(grid: Grid, foreseen: Callable[[Configuration], float]) -> list[Observation]:
    return [Observation(item, (foreseen(item),), {}) for item in grid.space.configurations]


def test_a_search_ends_with_the_first_within_two_percent(grid: Grid) -> None:
    assert grid.good == {Configuration(64, 512, "default")}
    foreseen = predicted(grid, lambda item: 2 * value(item))
    cold, warm = ([played(grid, Direction.MAXIMIZE, seed, known) for seed in range(3)] for known in ((), foreseen))
    assert all(run.reached and run.trials % grid.rounds == 0 for run in (*cold, *warm))
    assert sum(run.trials for run in warm) < sum(run.trials for run in cold)
    assert all(run.seconds >= 10 + run.trials / grid.rounds * 0.5 for run in (*cold, *warm))  # a start, and half a second a configuration


def test_each_seed_has_a_truth_of_its_own_where_windows_do_not_settle_it(grid: Grid) -> None:
    assert grid.resampled(3).good == grid.resampled(3).good == grid.good
    noisy = replace(grid, windows={item: [90.0, 100.0, 110.0] for item in grid.space.configurations})
    assert len({noisy.resampled(seed).good for seed in range(5)}) > 1
    assert window_spread(noisy) == pytest.approx(0.148, abs=0.001)


def test_agreement_of_predictions_is_told(grid: Grid) -> None:
    assert rank_correlation(grid, predicted(grid, value)) == pytest.approx(1)
    assert rank_correlation(grid, predicted(grid, lambda item: -value(item))) == pytest.approx(-1)
    assert errors(grid, predicted(grid, lambda item: 1.1 * value(item))) == pytest.approx(0.1)
