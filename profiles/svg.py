"""A little SVG: shapes and text as strings, escaped, with numbers that are short and finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape as html_escape

FONT = "system-ui, sans-serif"
INK, MUTED, GRID = "#1f2328", "#59636e", "#d1d9e0"


def escape(content: str) -> str:
    """Text for an element or an attribute; control characters, which XML forbids, become spaces."""
    return html_escape("".join(character if character.isprintable() else " " for character in content))


def number(value: float) -> str:
    """Two decimals at most. Raises ValueError for NaN and infinities, which would make the whole picture invalid."""
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be drawn")
    return f"{value:.2f}".rstrip("0").rstrip(".") if "." in f"{value:.2f}" else f"{value:.2f}"


def rect(x: float, y: float, width: float, height: float, fill: str, tip: str = "") -> str:
    """A filled rectangle; `tip` shows when the pointer rests on it."""
    shape = f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(width, 0.0))}" height="{number(height)}" fill="{fill}"'
    return f"{shape}><title>{escape(tip)}</title></rect>" if tip else f"{shape}/>"


def line(x1: float, y1: float, x2: float, y2: float, stroke: str = GRID, *, width: float = 1.0, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f'<line {ends} stroke="{stroke}" stroke-width="{number(width)}"{dashes}/>'


def polyline(points: Sequence[tuple[float, float]], stroke: str, width: float = 2.0, tip: str = "") -> str:
    path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{number(width)}">{title}</polyline>'


def text(x: float, y: float, content: str, *, size: int = 12, anchor: str = "start", fill: str = INK, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    place = f'x="{number(x)}" y="{number(y)}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"'
    return f"<text {place}{weight}>{escape(content)}</text>"


def document(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """A whole picture on white ground; `title` is what a screen reader says."""
    size = f'width="{number(width)}" height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}" role="img" aria-label="{escape(title)}">'
    return "\n".join([head, rect(0, 0, width, height, "#ffffff"), *parts, "</svg>\n"])


def ticks(lowest: float, highest: float, about: int = 5) -> list[float]:
    """Round values that enclose [lowest, highest]: steps of 1, 2 or 5 times a power of ten. Two at least."""
    extent = highest - lowest
    if extent <= 0:
        extent = abs(highest) or 1.0
    raw = extent / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.floor(lowest / step + 1e-9)
    last = max(math.ceil(highest / step - 1e-9), first + 1)
    return [index * step for index in range(first, last + 1)]
