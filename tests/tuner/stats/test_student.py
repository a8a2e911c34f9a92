from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.stats.student import p_of_one, two_sided_critical, two_sided_p

# Two-sided 5 % and 1 % points as printed in any table of Student's t.
TABLE = [(1, 0.05, 12.706), (2, 0.05, 4.303), (3, 0.05, 3.182), (4, 0.05, 2.776), (11, 0.05, 2.201), (30, 0.01, 2.750), (120, 0.05, 1.980)]


@pytest.mark.parametrize(("df", "level", "expected"), TABLE)
def test_known_critical_values(df: int, level: float, expected: float) -> None:
    assert two_sided_critical(level, df) == pytest.approx(expected, abs=5e-4)


def test_one_and_two_degrees_of_freedom_have_closed_forms() -> None:
    t = np.array([0.0, 0.5, 1.0, 7.0])
    assert two_sided_p(t, 1) == pytest.approx(1 - 2 / math.pi * np.arctan(t))
    assert two_sided_p(t, 2) == pytest.approx(1 - t / np.sqrt(2 + t * t))


@examples(60)
@given(st.one_of(st.floats(0, 50), st.sampled_from([math.inf, 1e300])), st.integers(1, 60))
def test_one_p_is_that_of_an_array(t: float, df: int) -> None:
    assert p_of_one(t, df) == pytest.approx(float(two_sided_p(t, df)), abs=1e-13)
    assert p_of_one(-t, df) == p_of_one(t, df)


def test_one_p_needs_a_degree_of_freedom() -> None:
    with pytest.raises(ValueError, match="degrees of freedom"):
        p_of_one(1.0, 0)


@pytest.mark.slow
def test_agrees_with_scipy_where_it_is_installed() -> None:
    stats = pytest.importorskip("scipy.stats")
    t = np.linspace(-20, 20, 101)
    for df in (1, 2, 3, 4, 7, 12, 101):
        assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(np.abs(t), df), abs=1e-12)


@examples(60)
@given(st.floats(1e-6, 1.0), st.integers(1, 60))
def test_critical_value_inverts_p(level: float, df: int) -> None:
    assert float(two_sided_p(two_sided_critical(level, df), df)) == pytest.approx(level, rel=1e-5, abs=1e-12)


@examples(40)
@given(st.floats(0, 50), st.floats(0, 50), st.integers(1, 40))
def test_p_falls_with_t_and_is_symmetric(one: float, other: float, df: int) -> None:
    small, large = sorted((one, other))
    assert float(two_sided_p(large, df)) <= float(two_sided_p(small, df)) + 1e-12
    assert float(two_sided_p(-one, df)) == float(two_sided_p(one, df))


@pytest.mark.parametrize(("level", "df"), [(0.0, 3), (1.1, 3), (0.05, 0)])
def test_nonsense_is_refused(level: float, df: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        two_sided_critical(level, df)
