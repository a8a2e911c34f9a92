"""Tables, intervals and durations as people read them."""

from __future__ import annotations

import pytest

from tuner.cli.tables import duration, interval, text_table


def test_columns_are_aligned() -> None:
    assert text_table(("a", "long"), [["xyz", "one"], ["x", ""]]) == "a    long\nxyz  one\nx"


def test_numbers_are_to_the_right() -> None:
    rows = [["16", "+3.0 %", "5", "", "12,345"], ["128", "-12.5 %", "5 (1 invalid)", "", "9.5"]]
    assert text_table(("page", "change", "windows", "none", "value"), rows).splitlines() == [
        "page   change  windows        none   value",
        "  16   +3.0 %  5                    12,345",
        " 128  -12.5 %  5 (1 invalid)           9.5",
    ]


def test_wide_characters_count_twice() -> None:
    assert text_table(("model", "n"), [["モデル", "x"], ["e\u0301", "y"]]) == "model   n\nモデル  x\ne\u0301       y"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [("a\nb", "a\\nb"), ("\x1b[31mred", "\\x1b[31mred"), ("\x9b2J", "\\x9b2J"), ("\u202egnp", "\\u202egnp"), ("a\u2028b", "a\\u2028b")],
)
def test_what_would_move_the_cursor_is_written_out(cell: str, shown: str) -> None:
    assert text_table(("reason", "n"), [[cell, "x"]]).splitlines() == [f"{'reason':<{len(shown)}}  n", f"{shown:<6}  x"]


def test_spaces_that_do_not_break_stay_as_they_are() -> None:
    assert text_table(("n",), [["12\u00a0345 é"]]) == "n\n12\u00a0345 é"


def test_interval() -> None:
    assert interval(0.99, 1.02) == "-1.0 % to +2.0 %"
    assert interval(None, 1.0) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.26, "0.3 s"), (9.5, "9.5 s"), (45.2, "45 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
