"""Numbers, times and sizes as people read them. Pure; the templates' filters."""

from __future__ import annotations

import math
import time

NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"  # what screen readers say as one, and as wide as the plus


def number(value: float | None) -> str:
    """Four significant digits, thousands apart."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}") if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", _MINUS, 1) if value < 0 else text


def change(ratio: float | None) -> str:
    """A ratio as a signed change: 1.031 -> "+3.1 %"."""
    return NOTHING if ratio is None or not math.isfinite(ratio) else percent(100 * (ratio - 1))


def percent(value: float | None) -> str:
    """Already in percent; two digits below 10 %, which is where verdicts are decided."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:+.2f} %" if abs(value) < 10 else f"{value:+.1f} %"
    return text.replace("-", _MINUS)


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if 0 < seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
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
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
