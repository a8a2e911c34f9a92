from __future__ import annotations

import numpy as np
import pytest

from tuner.foresight.curve import LINEAR, ROOFLINE, Curve, fit


def _work(count: int) -> np.ndarray:
    """[count x 2]: flops and bytes, from bound by bytes to bound by flops."""
    tokens = np.linspace(1, 2048, count)
    return np.stack([2 * tokens * 4096 * 4096, 2 * (4096 * 4096 + 8192 * tokens)], axis=1)


def test_a_roofline_is_found_again_from_its_times() -> None:
    true = Curve(ROOFLINE, (4e-6, 6e14, 1.5e12, 2.0))
    terms = _work(200)
    found = fit(ROOFLINE, terms, true.seconds(terms), np.ones(200))
    assert found.seconds(terms) == pytest.approx(true.seconds(terms), rel=0.01)


@pytest.mark.parametrize("form", [ROOFLINE, LINEAR])
def test_one_point_in_five_that_takes_twice_as_long_bends_nothing(form: str) -> None:
    true = Curve(ROOFLINE, (4e-6, 6e14, 1.5e12, 2.0)) if form == ROOFLINE else Curve(LINEAR, (1e-13, 2e-12))
    terms = _work(200)
    seconds = true.seconds(terms)
    disturbed = np.where(np.arange(200) % 5 == 0, 2 * seconds, seconds)
    assert fit(form, terms, disturbed, np.ones(200)).seconds(terms) == pytest.approx(seconds, rel=0.03)


def test_more_work_never_takes_less_time_even_where_the_table_falls() -> None:
    tokens = np.arange(1, 101, dtype=float)
    found = fit(LINEAR, np.stack([np.ones(100), tokens], axis=1), 1e-6 * (200 - tokens), np.ones(100))
    assert min(found.weights) >= 0


def test_points_of_little_importance_give_way() -> None:
    terms = np.ones((40, 1))
    seconds = np.repeat([1.0, 3.0], 20)
    assert fit(LINEAR, terms, seconds, np.repeat([1.0, 1e-6], 20)).weights == pytest.approx((1.0,), rel=1e-3)
    assert fit(LINEAR, terms, seconds, np.repeat([1e-6, 1.0], 20)).weights == pytest.approx((3.0,), rel=1e-3)
