"""Plain text: aligned tables, intervals and durations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import category, combining, east_asian_width

from tuner.core.numbers import change

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's categories of control and format characters, surrogates and line separators
_NUMBER = re.compile(r"([+-]?\d[\d,]*(\.\d+)?( %)?)?")


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns with two spaces between them: numbers to the right, everything else to the left. Wide characters count twice; control
    characters, which a name or a reason may hold, are written out."""
    lines = [list(headers), *([_harmless(cell) for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(headers))]
    numeric = [bool(rows) and all(_NUMBER.fullmatch(row[column]) for row in rows) for column in range(len(headers))]
    return "\n".join("  ".join(map(_padded, line, widths, numeric)).rstrip() for line in lines)


def _harmless(cell: str) -> str:
    """With what would move the cursor or hide text written out: "\\x1b", "\\n"."""
    if cell.isprintable():
        return cell
    return "".join(letter.encode("unicode_escape").decode() if category(letter) in _UNSEEN else letter for letter in cell)


def _padded(cell: str, width: int, to_the_right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if to_the_right else cell + space


def _width(text: str) -> int:
    """Columns that a terminal takes for it."""
    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{change(low)} to {change(high)}"


def duration(seconds: float) -> str:
    """45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
