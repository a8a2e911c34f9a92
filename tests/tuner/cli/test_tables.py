"""Tables and numbers as people read them."""

from __future__ import annotations

import pytest

from tuner.cli.tables import duration, interval, number, percent, text_table


def test_columns_are_aligned() -> None:
    assert text_table(("a", "long"), [["xyz", "one"], ["x", ""]]) == "a    long\nxyz  one\nx"


def test_numbers_are_to_the_right() -> None:
    rows = [["16", "+3.0 %", "5", ""], ["128", "-12.5 %", "5 (1 invalid)", ""]]
    assert text_table(("page", "change", "windows", "none"), rows).splitlines() == [
        "page   change  windows        none",
        "  16   +3.0 %  5",
        " 128  -12.5 %  5 (1 invalid)",
    ]


def test_wide_characters_count_twice() -> None:
    assert text_table(("model", "n"), [["モデル", "x"], ["e\u0301", "y"]]) == "model   n\nモデル  x\ne\u0301       y"


@pytest.mark.parametrize(("ratio", "text"), [(1.031, "+3.1 %"), (0.95, "-5.0 %"), (1.0, "+0.0 %"), (None, "")])
def test_percent(ratio: float | None, text: str) -> None:
    assert percent(ratio) == text


def test_interval() -> None:
    assert interval(0.99, 1.02) == "-1.0 % to +2.0 %"
    assert interval(None, 1.0) == ""


@pytest.mark.parametrize(("value", "text"), [(1234.56, "1235"), (12.3456, "12.35"), (0.00012345, "0.0001234"), (0.0, "0"), (None, "")])
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.26, "0.3 s"), (9.5, "9.5 s"), (45.2, "45 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
