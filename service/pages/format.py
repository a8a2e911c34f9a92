"""Numbers, times and sizes as people read them. Pure; the templates' filters."""

from __future__ import annotations

import math
import re
import time

from tuner.core import numbers as plain

NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"  # what screen readers say as one, and as wide as the plus
_MINUS_SIGN = re.compile(r"(?<![\w,.)\]-])-(?=\d)")  # not of 3-24, nor of a name
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def number(value: float | None) -> str:
    """Four significant digits, thousands apart."""
    return typeset(plain.number(value)) or NOTHING


def change(ratio: float | None) -> str:
    """A ratio as a signed change: 1.031 -> "+3.10 %"."""
    return NOTHING if ratio is None else percent(100 * (ratio - 1))


def percent(value: float | None) -> str:
    """Already in percent; two digits below 10 %, which is where verdicts are decided."""
    return NOTHING if value is None else typeset(plain.change(1 + value / 100, 2 if abs(value) < 10 else 1)) or NOTHING


def typeset(text: str) -> str:
    """Numbers in a sentence with the signs of a typographer: a true minus, thousands apart by a space that does not break."""
    return _MINUS_SIGN.sub(_MINUS, _THOUSANDS.sub("\N{NO-BREAK SPACE}", text))


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if 0 < seconds < 1:
        return f"{plain.number(1e3 * seconds, 3)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(seconds: float | None) -> str:
    """Unix seconds as a moment in UTC."""
    return NOTHING if not seconds else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def machine_moment(seconds: float | None) -> str:
    """For <time datetime=...>."""
    return "" if not seconds else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{plain.number(value, 3)} {unit}"
        value /= 1000
    return f"{plain.number(value, 3)} GB"
