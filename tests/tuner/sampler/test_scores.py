from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.sampler.scores import normal_scores, pareto_values

_VALUES = st.lists(st.integers(-1000, 1000), min_size=1, max_size=30).map(lambda numbers: np.array(numbers, dtype=float))


@examples(50)
@given(_VALUES)
def test_order_is_kept_units_do_not_matter_and_minimising_mirrors(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    scores = normal_scores(values)
    assert (np.sign(scores[:, None] - scores[None, :]) == np.sign(values[:, None] - values[None, :])).all()
    assert np.array_equal(scores, normal_scores(np.exp(values / 500) * 3 + 7))
    assert normal_scores(-values) == pytest.approx(-scores, abs=1e-12)


def test_quantiles_and_ties() -> None:
    assert normal_scores(np.array([3.0, 1.0, 2.0])) == pytest.approx([0.967422, -0.967422, 0.0], abs=1e-6)
    assert normal_scores(np.array([5.0, 5.0])) == pytest.approx([0.0, 0.0])


def test_what_breaks_a_constraint_ranks_below_whatever_its_value() -> None:
    scores = normal_scores(np.array([1.0, 100.0, 2.0, 1000.0]), np.array([0.0, 0.1, 0.0, 5.0]))
    assert np.argsort(-scores).tolist() == [2, 0, 1, 3]


def test_one_objective_stays_what_it_is() -> None:
    assert pareto_values(np.array([[3.0], [1.0]]), np.zeros(2)).tolist() == [3.0, 1.0]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20))
def test_what_is_dominated_ranks_below_what_dominates_it(points: list[tuple[int, int]]) -> None:
    values = pareto_values(np.array(points, dtype=float), np.zeros(len(points)))
    for one, first in zip(points, values, strict=True):
        for other, second in zip(points, values, strict=True):
            if one != other and one[0] >= other[0] and one[1] >= other[1]:
                assert first > second
    assert values.max() >= 0  # the front


def test_what_breaks_a_constraint_dominates_nobody() -> None:
    values = pareto_values(np.array([[9.0, 9.0], [1.0, 2.0], [2.0, 1.0]]), np.array([1.0, 0.0, 0.0]))
    assert values[1] >= 0 and values[2] >= 0
