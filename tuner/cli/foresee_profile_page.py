"""Static profiles as one page without any other file: charts, tables, and what two settings differ in."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from profiles import svg
from tuner.core.numbers import number
from tuner.foresight.bundles import COLUMNS
from tuner.foresight.profile_difference import difference

if TYPE_CHECKING:
    from tuner.foresight.static_profile import StaticProfile

_WIDTH, _LEFT, _BAR, _GAP = 860.0, 260.0, 16.0, 12.0
_COLOURS = ("#0072b2", "#d55e00")  # told apart by colour-blind readers as well
_STYLE = (
    "body{font-family:system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .6rem;border-bottom:1px solid #d1d9e0;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}"
)

Bar = tuple[str, tuple[float, ...]]  # a label, and one value for each profile

Titled = tuple[str, "StaticProfile"]


def page(found: Sequence[Titled]) -> str:
    """One profile, or two that are compared. HTML with its style and SVG inside."""
    names = [title for title, _ in found]
    profiles = [profile for _, profile in found]
    parts = [f"<h1>{escape(' against '.join(names))}</h1>", "<p>Static: nothing was run. A loop's body counts once.</p>"]
    sums = [profile.categories() for profile in profiles]
    used = list(dict.fromkeys(name for each in sums for name in each))
    for words, key, unit in (("Estimated cycles", "cycles", "cycles"), ("HBM bytes", "hbm_bytes", "bytes")):
        bars = [(name, tuple(float(each[name][key]) if name in each else 0.0 for each in sums)) for name in used]
        parts.append(chart(f"{words} by category, of the instructions that state them", unit, bars, names))
    parts += _kernels(profiles, names)
    body = "\n".join(parts)
    head = f"<title>{escape(names[0])}</title><meta name='viewport' content='width=device-width'><style>{_STYLE}</style>"
    return f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>{head}</head><body>\n{body}\n</body></html>\n"


def _kernels(profiles: Sequence[StaticProfile], names: Sequence[str]) -> list[str]:
    compared = difference(profiles[0], profiles[-1])
    parts = []
    for pair in compared.pairs:
        code = pair.code[: len(profiles)]
        bars = [(header, tuple(each.get(label, 0.0) for each in code)) for label, header in COLUMNS.items()]
        used = [bar for bar in bars if any(bar[1])]
        parts.append(f"<h2>{escape(pair.kernel)}</h2>")
        parts.append(chart(f"{pair.kernel}: code by unit", "count", used, names))
        parts.append(_table(["", *names], used))
        if len(profiles) > 1:
            parts += [f"<p>{escape(reason)}</p>" for reason in pair.reasons]
    return parts or ["<p>No kernel with code of its own.</p>"]


def _table(headers: Sequence[str], bars: Sequence[Bar]) -> str:
    head = "".join(f"<th scope='col'>{escape(header)}</th>" for header in headers)
    rows = "".join(
        f"<tr><th scope='row'>{escape(label)}</th>{''.join(f'<td class=n>{number(value, 7)}</td>' for value in values)}</tr>"
        for label, values in bars
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def chart(title: str, unit: str, bars: Sequence[Bar], names: Sequence[str]) -> str:
    """Horizontal bars, one for each profile under each label, to one scale."""
    most = max((value for _, values in bars for value in values), default=0.0) or 1.0
    top = 60.0 + 16.0 * len(names)
    parts = [svg.text(16, 26, f"{title} ({unit})", size=15, bold=True)]
    for index, name in enumerate(names):
        parts.append(svg.rect(16, 40 + 16 * index, 11, 11, _COLOURS[index]))
        parts.append(svg.text(32, 50 + 16 * index, name))
    y = top
    for label, values in bars:
        parts.append(svg.text(_LEFT - 10, y + 12, label, anchor="end"))
        for index, value in enumerate(values):
            width = (_WIDTH - _LEFT - 110) * value / most
            said = number(value, 7)
            parts.append(svg.rect(_LEFT, y, width, _BAR - 2, _COLOURS[index], f"{label}, {names[index]}: {said}"))
            parts.append(svg.text(_LEFT + width + 6, y + 12, said, size=11))
            y += _BAR
        y += _GAP
    return svg.document(_WIDTH, y + 10, title, parts)
