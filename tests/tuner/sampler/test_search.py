"""What is predicted and what is measured, on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.sampler.grid import Array, Indices
from tuner.sampler.search import Results, _scored

LEVELS: Indices = np.arange(8, dtype=np.intp).reshape(-1, 1)
EXPECTED = np.array([40.0, 55.0, 60.0, 70.0, 80.0, 85.0, 95.0, 120.0])


def results(levels: Indices, values: Array, *, own_unit: bool = False, broken: Array | None = None) -> Results:
    return Results(levels, values, np.zeros(len(values)) if broken is None else broken, own_unit)


@pytest.mark.parametrize("sign", [1, -1], ids=["maximise", "minimise"])
def test_the_first_two_measurements_do_not_look_like_the_best_and_the_worst_there_are(sign: int) -> None:
    """They were the baseline in both arms, 1 % apart, where others are expected at half and at twice as much."""
    own = results(LEVELS[3:5], sign * np.array([210.0, 212.0]))
    _, alone = _scored((results(LEVELS, sign * EXPECTED),), own)
    expected, together = _scored((results(LEVELS, sign * EXPECTED, own_unit=True),), own)
    assert abs(alone[1] - alone[0]) > 1.5
    assert abs(together[1] - together[0]) < 0.3
    assert expected.min() < together.min() < together.max() < expected.max()


def test_the_level_of_a_prediction_does_not_matter_once_something_of_it_was_measured() -> None:
    own = results(LEVELS[2:6], np.array([61.0, 66.0, 83.0, 84.0]))
    found = [_scored((results(LEVELS, factor * EXPECTED, own_unit=True),), own) for factor in (1.0, 7.0)]
    assert found[0][0] == pytest.approx(found[1][0])
    assert found[0][1] == pytest.approx(found[1][1])


def test_what_failed_or_breaks_a_limit_says_nothing_about_the_level() -> None:
    own = results(LEVELS[3:6], np.array([140.0, 160.0, 0.0]), broken=np.array([0.0, 0.0, np.inf]))
    expected, together = _scored((results(LEVELS, EXPECTED, own_unit=True),), own)
    assert together[:2] == pytest.approx(expected[3:5])
    assert together[2] < expected.min()


def test_predictions_of_other_configurations_are_taken_as_they_are() -> None:
    expected, together = _scored((results(LEVELS[:4], EXPECTED[:4], own_unit=True),), results(LEVELS[7:], np.array([1000.0])))
    assert together[0] > expected.max()


def test_earlier_studies_are_ranked_within_themselves() -> None:
    earlier = results(LEVELS, EXPECTED)
    scores, own = _scored((earlier, results(LEVELS, EXPECTED, own_unit=True)), results(LEVELS[:1], np.array([4000.0])))
    assert scores[: len(earlier)] == pytest.approx(earlier.scores())
    assert len(scores) == 16
    assert len(own) == 1
