"""Numbers as people read them: never with an exponent, thousands apart, as exact as they are worth. Pure.

Plain ASCII, for terminals, reasons and reports; pages set the same numbers with a typographer's signs (service.pages.format). What is read
back by a program is written by `exact`.
"""

from __future__ import annotations

import math
import re
import time
from decimal import Decimal

_EXPONENT = re.compile(r"(?<![\w.])\d+(?:\.\d+)?e[+-]\d{2,3}(?!\w)")
SMALLEST = 1e-6  # anything nearer to zero is told as that


def number(value: float | None, digits: int = 4) -> str:
    """`digits` significant digits, but all of a whole part: 12.3456 -> "12.35", 1234567.8 -> "1,234,568".

    "" for None and what is no number.
    """
    if value is None or not math.isfinite(value):
        return ""
    if value == 0:
        return "0"
    if abs(value) < SMALLEST:
        return "<0.000001" if value > 0 else ">-0.000001"
    exponent = int(f"{abs(value):.{digits - 1}e}".partition("e")[2])  # after rounding: 9.9996 has that of 10
    text = f"{value:,.{max(0, digits - 1 - exponent)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: float | None, digits: int = 3) -> str:
    """A difference: "+1.2", "-0.04", "0"."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value >= SMALLEST and text else text


def change(ratio: float | None, decimals: int = 1) -> str:
    """A ratio as a signed change: 1.031 -> "+3.1 %"; "" for None and what is no number."""
    if ratio is None or not math.isfinite(ratio):
        return ""
    percent = round(100 * (ratio - 1), decimals) + 0.0  # no "-0.0"
    return f"{percent:+,.{decimals}f} %"


def share(fraction: float, digits: int = 2) -> str:
    """A fraction of a whole, or the size of a change, without a sign: 0.0314 -> "3.1 %"."""
    return f"{number(100 * fraction, digits)} %"


def without_exponents(text: str) -> str:
    """A sentence of an earlier version, "1.234e+04 tokens/s", as this one writes it: "12,340 tokens/s"."""
    return _EXPONENT.sub(lambda found: number(float(found[0])), text)


def exact(value: float) -> str:
    """The shortest decimal that reads back as the same number: 500.0 -> "500", 1e6 -> "1000000"."""
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def utc(seconds: float) -> str:
    """Unix seconds as a date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
