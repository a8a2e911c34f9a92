"""Numbers and times of the pages: never an exponent, also where rounding reaches the next unit."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.pages.format import NOTHING, change, duration, number, percent, size

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)
EXPONENT = re.compile(r"\de[+-]?\d")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1\xa0234"), (-12345.0, "\N{MINUS SIGN}12\xa0345"), (12.3456, "12.35"), (0.0, "0"), (None, NOTHING), (math.nan, NOTHING)],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.126, "+3.13 %"), (-3.0, "\N{MINUS SIGN}3.00 %"), (12.34, "+12.3 %"), (-0.001, "+0.00 %"), (None, NOTHING), (math.inf, NOTHING)],
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(("ratio", "text"), [(1.031, "+3.10 %"), (0.5, "\N{MINUS SIGN}50.0 %"), (None, NOTHING), (math.nan, NOTHING)])
def test_change(ratio: float | None, text: str) -> None:
    assert change(ratio) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9996, "1,000 ms"), (0.0005, "0.5 ms"), (1.0, "1.0 s"), (59.7, "1 min 0 s"), (7500.0, "2 h 5 min"), (None, NOTHING)],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_900, "1,000 kB"), (12_345_678_901, "12.3 GB")]
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@given(FINITE)
def test_nothing_has_an_exponent(value: float) -> None:
    texts = [number(value), percent(value), duration(abs(value)), size(int(abs(value)))]
    assert not any(EXPONENT.search(text) for text in texts), texts
