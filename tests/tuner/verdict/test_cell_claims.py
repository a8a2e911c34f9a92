"""What may be said of cells in a sentence about the whole study."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.metrics.catalog import Direction
from tuner.stats.intervals import floor_of, judge_family
from tuner.verdict.cell_claims import CellClaims, CellEvidence, cell_claims, sure_level

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE


def claims(logs: list[list[float]], direction: Direction = UP, objectives: int = 1) -> tuple[CellClaims, ...]:
    effects = judge_family(dict(enumerate(logs)), direction)
    floor = floor_of(logs)
    cells = [CellEvidence((16, 128 + number), values, effects[number], floor) for number, values in enumerate(logs)]
    return cell_claims(cells, direction, objectives=objectives)


def pairs(effect: float, sd: float = 0.004, seed: int = 0, count: int = 8) -> list[float]:
    """Log-ratios with exactly this mean and standard deviation."""
    noise = np.random.default_rng(seed).standard_normal(count)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return [math.log1p(effect) + sd * float(value) for value in noise]


def test_a_gain_a_loss_and_no_effect_are_told_apart_and_less_is_better_the_other_way_round() -> None:
    logs = [pairs(0.05), pairs(-0.05), pairs(0.0, sd=0.002)]
    assert [(item.wins, item.loses, item.within) for item in claims(logs)] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert [(item.wins, item.loses) for item in claims(logs, DOWN)] == [(False, True), (True, False), (False, False)]


def test_a_win_is_safe_and_harmless_and_a_loss_is_neither() -> None:
    win, loss = claims([pairs(0.05), pairs(-0.05)])
    assert win.safe and win.harmless and not (loss.safe or loss.harmless)


def test_one_cell_is_its_own_verdict() -> None:
    """The error that several cells share is all its own."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        (cell,) = claims([[0.012 + 0.02 * float(value) for value in rng.standard_normal(6)]])
        assert (cell.wins, cell.loses) == (cell.effect.verdict == "better", cell.effect.verdict == "worse")


def test_what_a_cell_alone_shows_may_not_be_sure_among_many() -> None:
    clear, just = pairs(0.05), pairs(0.02, sd=0.02)
    assert claims([clear, just])[1].wins
    many = claims([just, *(pairs(0.0, sd=0.02, seed=seed) for seed in range(1, 12))])
    assert not many[0].wins and many[0].looks is None  # the table's correction does not call it either
    assert not claims([just], objectives=3)[0].wins


def test_a_small_loss_that_is_shown_to_be_small_is_no_loss() -> None:
    (cell,) = claims([pairs(-0.005, sd=0.001)])
    assert cell.within and not cell.loses and cell.effect.verdict == "equivalent"


def test_cells_without_an_interval_show_nothing() -> None:
    empty, single, full = claims([[], [0.3], pairs(0.05)])
    assert not any((empty.tested, single.tested, empty.safe, single.harmless, single.wins)) and full.wins


@pytest.mark.parametrize(("cells", "objectives"), [(1, 1), (2, 1), (12, 1), (12, 2), (1, 3), (500, 1)])
def test_all_claims_together_keep_five_percent(cells: int, objectives: int) -> None:
    """2.5 % for the cell that a false claim about all cells needs, and the others' share of the single claims."""
    count, level = cells * objectives, sure_level(cells, objectives)
    assert count * level <= 0.05 + 1e-12
    assert count == 1 or 0.025 + (count - 1) * level <= 0.05 + 1e-12


@pytest.mark.slow
def test_wrong_claims_are_rare_where_nothing_is_true() -> None:
    """2,000 studies of 6 cells without an effect, analysed once."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(2000):
        found = claims([row.tolist() for row in 0.02 * rng.standard_normal((6, 5))])
        wrong += any(item.wins or item.loses for item in found)
    assert wrong / 2000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)
