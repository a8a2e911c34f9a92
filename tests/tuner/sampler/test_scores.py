from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.sampler.scores import normal_scores, pareto_values, search_scores

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


NONE_BROKEN = np.zeros(6)


@examples(50)
@given(_VALUES, st.floats(0.01, 100), st.floats(-1000, 1000))
def test_search_scores_keep_the_order_and_ask_for_no_unit(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], unit: float, zero: float
) -> None:
    none = np.zeros(len(values))
    scores = search_scores(values, none)
    assert (np.sign(np.round(scores[:, None] - scores[None, :], 9)) == np.sign(values[:, None] - values[None, :])).all()
    assert search_scores(values * unit + zero, none) == pytest.approx(scores, abs=1e-6)
    assert search_scores(-values, none) == pytest.approx(-scores, abs=1e-9)


@pytest.mark.parametrize("absurd", [1e6, 1e300, 1.7e308, -1e6, -1.7e308])
def test_an_absurd_result_does_not_make_the_others_look_alike(absurd: float) -> None:
    scores = search_scores(np.array([1.0, 2.0, 3.0, 4.0, 5.0, absurd]), NONE_BROKEN)
    assert np.diff(scores[:5]).min() > 0.2 and np.isfinite(scores).all()


def test_what_an_option_is_worth_is_seen_in_few_results() -> None:
    scores = search_scores(np.array([10.0, 10.1, 10.2, 20.0, 20.1, 20.2]), NONE_BROKEN)
    assert scores[3] - scores[2] > 5 * (scores[5] - scores[3])


@pytest.mark.parametrize("broken", [[0.0, 0.1, 0.0, 5.0], [np.inf, np.inf, 0.0, 0.0], [np.inf, 1.0, 2.0, 3.0], [0.0, np.inf, 1.0, 2.0]])
def test_what_breaks_a_constraint_scores_below_whatever_its_value(broken: list[float]) -> None:
    violations = np.array(broken)
    scores = search_scores(np.array([1.0, 100.0, 2.0, 1000.0]), violations)
    order = np.argsort(-scores)
    assert violations[order].tolist() == sorted(broken)


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [3.0, 3.0, 3.0, 3.0], [1.0, 3.0, 3.0, 3.0, 3.0, 3.0]])
def test_results_that_are_alike_get_equal_scores(values: list[float]) -> None:
    scores = search_scores(np.array(values), np.zeros(len(values)))
    assert np.isfinite(scores).all() and len({*scores[1:].tolist()}) <= 1
