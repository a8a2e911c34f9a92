"""When two studies say the same of a cell."""

from __future__ import annotations

import pytest

from bench.fleet_verdicts import Both, beside
from storage.records import Comparison
from tests.storage.builders import a_comparison


def of(verdict: str, low: float | None, high: float | None) -> Comparison:
    return a_comparison(1, verdict=verdict, ratio=low, low=low, high=high)


@pytest.mark.parametrize(
    ("one", "two", "agrees"),
    [
        (of("better", 1.02, 1.05), of("better", 1.04, 1.08), True),
        (of("better", 1.02, 1.05), of("undecided", 0.99, 1.03), True),
        (of("better", 1.02, 1.05), of("better", 1.06, 1.08), False),
        (of("better", 0.99, 1.05), of("worse", 0.95, 1.01), False),
        (of("too_few_pairs", None, None), of("too_few_pairs", None, None), True),
        (of("too_few_pairs", None, None), of("better", 1.02, 1.05), False),
    ],
)
def test_verdicts_agree_within_their_intervals(one: Comparison, two: Comparison, agrees: bool) -> None:
    assert Both(one, two).agrees is agrees
    assert Both(two, one).agrees is agrees


def test_studies_of_different_cells_are_not_compared() -> None:
    with pytest.raises(SystemExit):
        beside([a_comparison(1)], [a_comparison(2, block_size=64)])
    with pytest.raises(SystemExit):
        beside([], [])
    assert [both.agrees for both in beside([a_comparison(1)], [a_comparison(2)])] == [True]
