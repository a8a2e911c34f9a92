from __future__ import annotations

import math

import numpy as np
import pytest

from bench.lib.held_out import Comparison, coverage, intervals, median_error, spearman


def planted(noise: float, folds: int = 40, each: int = 2, seed: int = 0) -> list[Comparison]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(10, 100, folds * each)
    measured = truth * np.exp(noise * rng.standard_normal(folds * each))
    return [Comparison(index // each, float(value), float(true)) for index, (value, true) in enumerate(zip(measured, truth, strict=True))]


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_ninety_percent_of_what_varies_alike_is_inside(noise: float) -> None:
    found = np.mean([coverage(planted(noise, seed=seed)) for seed in range(20)])
    assert 0.88 <= found <= 0.95


def test_a_model_that_is_always_too_low_by_as_much_is_off_in_the_error_and_right_in_the_interval() -> None:
    items = [Comparison(index, 2.0 * value, value) for index, value in enumerate((3.0, 5.0, 7.0, 11.0))]
    assert median_error(items) == pytest.approx(0.5)
    assert all(
        low == pytest.approx(high) == pytest.approx(item.measured) for item, (low, high) in zip(items, intervals(items), strict=True)
    )


def test_an_interval_does_not_know_the_fold_that_it_judges() -> None:
    items = [Comparison("odd one", 90.0, 10.0), *(Comparison(index, 10.0, 10.0) for index in range(9))]
    low, high = intervals(items)[0]
    assert low == pytest.approx(10.0) == pytest.approx(high)
    assert coverage(items) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="second fold"):
        intervals([Comparison(1, 1.0, 1.0), Comparison(1, 2.0, 2.0)])


def test_few_configurations_are_given_all_that_was_seen() -> None:
    items = [Comparison(index, measured, 10.0) for index, measured in enumerate((8.0, 10.0, 11.0, 10.5))]
    low, high = intervals(items)[1]
    assert low == pytest.approx(8.0) and high == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("measured", "predicted", "expected"),
    [
        ((1, 2, 3, 4), (10, 20, 30, 40), 1.0),
        ((1, 2, 3, 4), (4, 3, 2, 1), -1.0),
        ((1, 2, 3, 4, 5), (2, 1, 4, 3, 5), 0.8),  # 1 - 6 x 4 / (5 x 24)
        ((1, 2, 3, 4), (1, 2, 2, 3), 0.9487),  # ties share their mean rank
    ],
)
def test_order_is_judged_by_ranks_alone(measured: tuple[float, ...], predicted: tuple[float, ...], expected: float) -> None:
    items = [Comparison(index, *pair) for index, pair in enumerate(zip(measured, predicted, strict=True))]
    assert spearman(items) == pytest.approx(expected, abs=1e-4)


def test_a_prediction_that_tells_nothing_apart_has_no_order() -> None:
    assert math.isnan(spearman([Comparison(index, float(index + 1), 5.0) for index in range(4)]))
