"""Pictures of profiles as SVG text: where a step's time goes, how step times spread, and what makes up a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from profiles import svg
from profiles.classify import CATEGORIES, Category
from profiles.diff import ProfileDiff, Row
from profiles.errors import ProfileError
from profiles.session_plan import ALL
from profiles.summary import Summary

WIDTH = 860.0
_LEFT, _RIGHT, _TOP = 190.0, 70.0, 64.0
_BAR, _GAP = 22.0, 10.0
_CHARACTER, _BOLD = 6.3, 6.8  # mean width at 12 pixels
# Distinct for colour-blind readers as well (tests/profiles/test_charts.py simulates them); the two gaps are greys because they are no work.
COLOURS = {
    Category.KV_WRITE: "#d55e00",
    Category.ATTENTION: "#0072b2",
    Category.ATTENTION_FUSED_KV: "#7cc8f2",
    Category.PROJECTION: "#009e73",
    Category.MLP: "#8fce6a",
    Category.NORM: "#f0e442",
    Category.SAMPLING: "#cc79a7",
    Category.COPY: "#e69f00",
    Category.COLLECTIVE: "#6b4226",
    Category.HOST_GAP: "#57606a",
    Category.IDLE: "#d0d7de",
    Category.LOOP_CONTROL: "#a371f7",
    Category.UNATTRIBUTED: "#1f2328",
}
_ARM_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_SLOWER, _FASTER, _TOTAL = "#d55e00", "#009e73", "#59636e"
_ON_LIGHT, _ON_DARK = "#111111", "#fefefe"  # text on a bar; not the ink and the ground, which a dark page swaps
_LABEL_FITS = 30.0  # pixels that a percentage takes inside its bar
_CAVEATS = 3  # lines of them
_TITLE = 90  # characters of a title's line


class Labelled(NamedTuple):
    """A profile and what to call it, e.g. ("page_aligned", summary)."""

    label: str
    summary: Summary


def breakdown(profiles: Sequence[Labelled], phases: Sequence[str] = (ALL,)) -> str:
    """One bar for each arm and phase: mean milliseconds a step, stacked by category. Raises ProfileError where no phase has a step."""
    bars = [
        (label, phase, numbers) for phase in phases for label, summary in profiles if (numbers := summary.phases.get(phase)) is not None
    ]
    if not bars:
        raise ProfileError(f"no profiled step of phase {', '.join(phases)}; profile longer or choose another --phase")
    used = [category for category in CATEGORIES if any(numbers["categories_ms"].get(category, 0) > 0 for _, _, numbers in bars)]
    names = [f"{_cut(label, 40)} · {phase} ({numbers['steps']} steps)" for label, phase, numbers in bars]
    left = _left(names)
    scale = _Scale(max(numbers["step_ms"]["mean"] for _, _, numbers in bars), left=left)
    legend, top = _legend([(str(category), COLOURS[category]) for category in used])
    bottom = top + len(bars) * (_BAR + _GAP)
    parts = [svg.text(16, 26, "Where a step's time goes", size=16, bold=True), *legend, *scale.grid(top, bottom, "mean ms a step")]
    for index, (_, _, numbers) in enumerate(bars):
        y, x = top + index * (_BAR + _GAP), left
        parts.append(svg.text(left - 10, y + 15, names[index], anchor="end"))
        for category in used:
            value, fraction = numbers["categories_ms"].get(category, 0.0), numbers["share"].get(category, 0.0)
            width = scale.width(value)
            parts.append(svg.rect(x, y, width, _BAR, COLOURS[category], f"{category}: {value:.3f} ms ({fraction:.1%})"))
            if width >= _LABEL_FITS:
                parts.append(svg.text(x + width / 2, y + 15, f"{fraction:.0%}", size=11, anchor="middle", fill=_text_on(COLOURS[category])))
            x += width
        parts.append(svg.text(x + 6, y + 15, f"{numbers['step_ms']['mean']:,.2f} ms"))
    return svg.document(WIDTH, bottom + 40, "Step time by category", parts)


def step_times(profiles: Sequence[Labelled], phase: str = ALL) -> str:
    """Fraction of steps that took at most so long (the empirical distribution), one line an arm. Raises ProfileError without any step."""
    curves = [(label, np.sort(np.array(summary.steps["period_ms"], np.float64)[summary.mask(phase)])) for label, summary in profiles]
    curves = [(label, values) for label, values in curves if len(values)]
    if not curves:
        raise ProfileError(f"no profiled step of phase {phase}; profile longer or choose another --phase")
    scale = _zoomed(min(float(values[0]) for _, values in curves), max(float(values[-1]) for _, values in curves))
    colours = [_ARM_COLOURS[index % len(_ARM_COLOURS)] for index in range(len(curves))]
    legend, top = _legend([(f"{label} ({len(values)})", colour) for (label, values), colour in zip(curves, colours, strict=True)])
    height = 240.0
    title = f"How long steps take ({phase}): fraction of steps that took at most so long"
    parts = [svg.text(16, 26, title, size=16, bold=True), *legend, *scale.grid(top, top + height, "ms a step")]
    for fraction in (0.0, 0.5, 0.9, 1.0):
        y = top + height * (1 - fraction)
        parts += [svg.line(_LEFT, y, WIDTH - _RIGHT, y), svg.text(_LEFT - 10, y + 4, f"{fraction:.0%}", anchor="end", fill=svg.MUTED)]
    for (label, values), colour in zip(curves, colours, strict=True):
        points = [(scale.x(float(values[0])), top + height)]
        for rank, value in enumerate(values.tolist(), 1):
            points += [(scale.x(value), points[-1][1]), (scale.x(value), top + height * (1 - rank / len(values)))]
        parts.append(svg.polyline(points, colour, tip=f"{label}: median {float(np.median(values)):.3f} ms over {len(values)} steps"))
    return svg.document(WIDTH, top + height + 40, f"Distribution of step times, phase {phase}", parts)


def waterfall(difference: ProfileDiff, labels: tuple[str, str] = ("baseline", "candidate")) -> str:
    """From the baseline's step time to the candidate's, one bar a category, largest change first; whiskers are the 95 % intervals."""
    rows = sorted(
        (row for row in difference.categories if row.baseline_ms > 0 or row.candidate_ms > 0), key=lambda row: -abs(row.difference_ms)
    )
    reach = [difference.baseline_step_ms, difference.candidate_step_ms]
    level = difference.baseline_step_ms
    for row in rows:
        reach += [level + row.high_ms, level + row.low_ms]
        level += row.difference_ms
    left = _left([*labels, *(row.category for row in rows)], bold=True)
    scale = _zoomed(min(reach), max(reach), left)
    change = difference.step
    digits = _digits(max(map(abs, (change.low_ms, change.high_ms, *(row.difference_ms for row in rows)))))
    headline = f"{change.difference_ms:+.{digits}f} ms a step [{change.low_ms:+.{digits}f}, {change.high_ms:+.{digits}f}]"
    who = f"{_cut(labels[1], 44)} against {_cut(labels[0], 44)}"
    titles = [f"{who}: {headline}"] if len(who) + len(headline) < _TITLE else [who, headline]
    parts = [svg.text(16, 26 + 20 * index, title, size=15, bold=True) for index, title in enumerate(titles)]
    top = 26.0 + 20 * len(titles)
    for caveat in _lines_of(difference.caveats):
        parts.append(svg.text(16, top, caveat, fill=_SLOWER))
        top += 18
    bottom = top + (len(rows) + 2) * (_BAR + _GAP)
    parts += scale.grid(top, bottom, "ms a step")
    parts += _total(scale, top, labels[0], difference.baseline_step_ms)
    level = difference.baseline_step_ms
    for index, row in enumerate(rows, 1):
        parts += _change(scale, top + index * (_BAR + _GAP), row, level, digits)
        level += row.difference_ms
    parts += _total(scale, top + (len(rows) + 1) * (_BAR + _GAP), labels[1], difference.candidate_step_ms)
    key = [("longer", _SLOWER), ("shorter", _FASTER)]
    for index, (word, colour) in enumerate(key):
        parts += [svg.rect(16 + 80 * index, bottom + 22, 12, 12, colour), svg.text(34 + 80 * index, bottom + 32, word)]
    parts.append(svg.text(180, bottom + 32, "line: 95 % interval over steps; grey label: may be chance", fill=svg.MUTED))
    return svg.document(WIDTH, bottom + 44, f"What makes up the difference of {labels[1]} and {labels[0]}", parts)


def _total(scale: _Scale, y: float, label: str, value: float) -> list[str]:
    return [
        svg.text(scale.left - 10, y + 15, _cut(label, 60), anchor="end", bold=True),
        svg.rect(scale.left, y, scale.x(value) - scale.left, _BAR, _TOTAL, f"{label}: {value:.3f} ms"),
        svg.text(scale.x(value) + 6, y + 15, f"{value:.{_digits(value)}f} ms"),
    ]


def _change(scale: _Scale, y: float, row: Row, level: float, digits: int) -> list[str]:
    start, end = sorted((level, level + row.difference_ms))
    low, high = scale.x(max(level + row.low_ms, scale.origin)), scale.x(level + row.high_ms)
    interval = f"{row.category}: {row.difference_ms:+.3f} ms [{row.low_ms:+.3f}, {row.high_ms:+.3f}]"
    tip = interval if row.changed else f"{interval}, may be chance"
    middle, ink = y + _BAR / 2, svg.INK if row.changed else svg.MUTED
    return [
        svg.text(scale.left - 10, y + 15, row.category, anchor="end", fill=ink),
        svg.rect(scale.x(start), y, max(scale.width(end - start), 1.0), _BAR, _SLOWER if row.difference_ms > 0 else _FASTER, tip),
        svg.line(low, middle, high, middle, svg.INK),
        svg.text(max(scale.x(end), high) + 6, y + 15, f"{row.difference_ms:+.{digits}f}", fill=ink),
    ]


def _digits(largest: float) -> int:
    """Decimals that show three digits of the largest number: smaller ones beside it need no more."""
    return min(max(0, 2 - math.floor(math.log10(largest))), 6) if largest > 0 else 3


def _cut(label: str, most: int) -> str:
    """A label of at most so many characters; what tells two of them apart mostly stands at both ends."""
    return label if len(label) <= most else f"{label[: most // 2 - 1]}…{label[-(most - most // 2) :]}"


def _lines_of(caveats: Sequence[str]) -> list[str]:
    """Caveats as lines that fit; the table says all of them."""
    shown = [f"Not like with like: {_cut(caveat, 96)}" for caveat in caveats[:_CAVEATS]]
    return [*shown[:-1], f"{shown[-1]} (and {len(caveats) - _CAVEATS} more)"] if len(caveats) > _CAVEATS else shown


def _left(labels: Sequence[str], *, bold: bool = False) -> float:
    """Room for labels left of the axis."""
    return min(max(_LEFT, (_BOLD if bold else _CHARACTER) * max(map(len, labels)) + 20), WIDTH / 2)


def _text_on(colour: str) -> str:
    """Readable on a bar: by the luminance of its colour (WCAG 2)."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return _ON_LIGHT if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.18 else _ON_DARK


def _zoomed(lowest: float, highest: float, left: float = _LEFT) -> _Scale:
    """From 0, but near the lowest value where differences would not be seen from there."""
    return _Scale(highest, lowest if lowest > 0.5 * highest else 0.0, left)


def _legend(entries: Sequence[tuple[str, str]]) -> tuple[list[str], float]:
    """(colour and name of each entry, in rows that fit; where the drawing below may begin)."""
    pitch = min(max(140.0, _CHARACTER * max(len(name) for name, _ in entries) + 40), WIDTH - 32)
    columns = int((WIDTH - 16) // pitch)
    parts = []
    for index, (name, colour) in enumerate(entries):
        x, y = 16 + (index % columns) * pitch, 40 + (index // columns) * 20
        parts += [svg.rect(x, y, 12, 12, colour), svg.text(x + 18, y + 11, name)]
    return parts, _TOP + 20 * -(-len(entries) // columns)


class _Scale:
    """Milliseconds along the x axis, from 0 or, where `lowest` is given, from the round value below it."""

    def __init__(self, highest: float, lowest: float = 0.0, left: float = _LEFT) -> None:
        self.left = left
        self._ticks = svg.ticks(lowest, highest)
        self.origin = self._ticks[0]
        self._per_ms = (WIDTH - left - _RIGHT) / (self._ticks[-1] - self.origin)

    def width(self, value: float) -> float:
        return value * self._per_ms

    def x(self, value: float) -> float:
        return self.left + self.width(value - self.origin)

    def grid(self, top: float, bottom: float, label: str) -> list[str]:
        parts = []
        for tick in self._ticks:
            parts += [svg.line(self.x(tick), top, self.x(tick), bottom)]
            parts.append(svg.text(self.x(tick), bottom + 16, f"{tick:g}", anchor="middle", fill=svg.MUTED))
        note = f"{label}, axis from {self.origin:g}" if self.origin > 0 else label
        return [*parts, svg.text(WIDTH - _RIGHT, bottom + 32, note, anchor="end", fill=svg.MUTED)]
