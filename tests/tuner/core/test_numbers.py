"""Numbers as people read them: no exponent, rounded rightly, thousands apart."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.core.numbers import SMALLEST, change, exact, number, share, signed, without_exponents

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e18, max_value=1e18)
PLAIN = re.compile(r"-?\d{1,3}(,\d{3})*(\.\d+)?")


def read(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (12.3456, "12.35"),
        (12.3, "12.3"),
        (-12.3456, "-12.35"),
        (999.96, "1,000"),
        (99999.6, "100,000"),
        (1234.56, "1,235"),
        (1e7, "10,000,000"),
        (0.00012345, "0.0001234"),
        (1.5e-5, "0.000015"),
        (1e-9, "<0.000001"),
        (-1e-9, ">-0.000001"),
        (1e22, "10,000,000,000,000,000,000,000"),
        (None, ""),
        (math.nan, ""),
        (math.inf, ""),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@given(FINITE, st.integers(1, 6))
def test_a_number_is_plain_and_as_near_as_its_digits(value: float, digits: int) -> None:
    text = number(value, digits)
    if 0 < abs(value) < SMALLEST:
        assert text in ("<0.000001", ">-0.000001")
        return
    assert PLAIN.fullmatch(text)
    shown = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    assert abs(read(text) - value) <= 0.5 * 10.0**-shown + 1e-9 * abs(value)
    assert not text.startswith("-0") or read(text) < 0


@given(FINITE, FINITE)
def test_order_survives(one: float, other: float) -> None:
    low, high = sorted((one, other))
    if abs(low) >= SMALLEST and abs(high) >= SMALLEST:
        assert read(number(low)) <= read(number(high))


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.031, "+3.1 %"), (0.95, "-5.0 %"), (1.0, "+0.0 %"), (0.99999, "+0.0 %"), (None, ""), (math.nan, "")]
)
def test_a_ratio_is_a_signed_change(ratio: float | None, text: str) -> None:
    assert change(ratio) == text


def test_a_change_of_more_digits_or_thousands() -> None:
    assert change(1.031, 2) == "+3.10 %" and change(13.5) == "+1,250.0 %"


@given(st.floats(0, 1e9))
def test_a_change_is_never_written_with_an_exponent(ratio: float) -> None:
    assert re.fullmatch(r"[+-]\d{1,3}(,\d{3})*\.\d %", change(ratio)) and change(ratio) != "-0.0 %"


@pytest.mark.parametrize(("value", "text"), [(0.4, "+0.4"), (-1234.5, "-1,234"), (0.0, "0"), (1e-9, "<0.000001"), (None, "")])
def test_a_difference_has_its_sign(value: float | None, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(("fraction", "text"), [(0.0314, "3.1 %"), (1.0, "100 %"), (0.666, "67 %"), (0.0, "0 %"), (12.0, "1,200 %")])
def test_a_share(fraction: float, text: str) -> None:
    assert share(fraction) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_exact_reads_back_as_the_same(value: float) -> None:
    assert float(exact(value)) == value and "e" not in exact(value).lower()


@pytest.mark.parametrize(("value", "text"), [(500.0, "500"), (1e6, "1000000"), (1234567.0, "1234567"), (0.5, "0.5"), (1e-7, "0.0000001")])
def test_exact_is_short(value: float, text: str) -> None:
    assert exact(value) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("total 1.234e+04 tokens/s, 1e+02 % behind", "total 12,340 tokens/s, 100 % behind"),
        ("p99 1.5e-05 s", "p99 0.000015 s"),
        ("TPU v6e-4 and trial 2e+05x", "TPU v6e-4 and trial 2e+05x"),
        ("page size 32", "page size 32"),
    ],
)
def test_a_stored_sentence_loses_its_exponents(before: str, after: str) -> None:
    assert without_exponents(before) == after
