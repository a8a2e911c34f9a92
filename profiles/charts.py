"""Pictures of profiles as SVG text: where a step's time goes, how step times spread, and what makes up a difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from profiles import svg
from profiles.capture import ALL
from profiles.classify import CATEGORIES, Category
from profiles.diff import ProfileDiff, Row
from profiles.errors import ProfileError
from profiles.summary import Summary

WIDTH = 860.0
_LEFT, _RIGHT, _TOP = 190.0, 70.0, 64.0
_BAR, _GAP = 22.0, 10.0
_CHARACTER = 6.3  # mean width at 12 pixels
# Distinct for colour-blind readers as well; the two gaps are greys because they are no work.
COLOURS = {
    Category.KV_WRITE: "#d55e00",
    Category.ATTENTION: "#0072b2",
    Category.ATTENTION_FUSED_KV: "#56b4e9",
    Category.PROJECTION: "#009e73",
    Category.MLP: "#8fce6a",
    Category.NORM: "#f0e442",
    Category.SAMPLING: "#cc79a7",
    Category.COPY: "#e69f00",
    Category.COLLECTIVE: "#7b4fa3",
    Category.HOST_GAP: "#8c959f",
    Category.IDLE: "#c8d1da",
    Category.UNATTRIBUTED: "#1f2328",
}
_ARM_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_SLOWER, _FASTER, _TOTAL = "#d55e00", "#009e73", "#59636e"


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
    used = [category for category in CATEGORIES if any(numbers["categories_ms"][category] > 0 for _, _, numbers in bars)]
    names = [f"{label} · {phase} ({numbers['steps']} steps)" for label, phase, numbers in bars]
    left = min(max(_LEFT, _CHARACTER * max(map(len, names)) + 20), WIDTH / 2)
    scale = _Scale(max(numbers["step_ms"]["mean"] for _, _, numbers in bars), left=left)
    legend_rows = -(-len(used) // 6)
    top = _TOP + 20 * legend_rows
    bottom = top + len(bars) * (_BAR + _GAP)
    parts = [svg.text(16, 26, "Where a step's time goes", size=16, bold=True), *_legend(used), *scale.grid(top, bottom, "mean ms a step")]
    for index, (_, _, numbers) in enumerate(bars):
        y, x = top + index * (_BAR + _GAP), left
        parts.append(svg.text(left - 10, y + 15, names[index], anchor="end"))
        for category in used:
            value = numbers["categories_ms"][category]
            width = scale.width(value)
            parts.append(svg.rect(x, y, width, _BAR, COLOURS[category], f"{category}: {value:.3f} ms ({numbers['share'][category]:.1%})"))
            x += width
        parts.append(svg.text(x + 6, y + 15, f"{numbers['step_ms']['mean']:.3g} ms"))
    return svg.document(WIDTH, bottom + 40, "Step time by category", parts)


def step_times(profiles: Sequence[Labelled], phase: str = ALL) -> str:
    """Share of steps that took at most so long (the empirical distribution), one line an arm. Raises ProfileError without any step."""
    curves = [(label, np.sort(np.array(summary.steps["period_ms"], np.float64)[summary.mask(phase)])) for label, summary in profiles]
    curves = [(label, values) for label, values in curves if len(values)]
    if not curves:
        raise ProfileError(f"no profiled step of phase {phase}; profile longer or choose another --phase")
    scale = _Scale(max(float(values[-1]) for _, values in curves))
    height, top = 240.0, _TOP + 20
    parts = [svg.text(16, 26, f"Step times ({phase})", size=16, bold=True), *scale.grid(top, top + height, "ms a step")]
    for share in (0.0, 0.5, 0.9, 1.0):
        y = top + height * (1 - share)
        parts += [svg.line(_LEFT, y, WIDTH - _RIGHT, y), svg.text(_LEFT - 10, y + 4, f"{share:.0%} of steps", anchor="end", fill=svg.MUTED)]
    pitch = max(200.0, _CHARACTER * max(len(label) for label, _ in curves) + 60)
    for index, (label, values) in enumerate(curves):
        colour = _ARM_COLOURS[index % len(_ARM_COLOURS)]
        points = [(scale.x(float(values[0])), top + height)]
        for rank, value in enumerate(values.tolist(), 1):
            points += [(scale.x(value), points[-1][1]), (scale.x(value), top + height * (1 - rank / len(values)))]
        parts.append(svg.polyline(points, colour, tip=f"{label}: median {float(np.median(values)):.3f} ms over {len(values)} steps"))
        column = 16 + index * min(pitch, (WIDTH - 32) / len(curves))
        parts += [svg.rect(column, 40, 12, 12, colour), svg.text(column + 18, 51, f"{label} ({len(values)})")]
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
    lowest = max(min(reach), 0.0)
    scale = _Scale(max(reach), lowest if lowest > 0.5 * max(reach) else 0.0)  # small changes of a long step would not be seen from 0
    top = _TOP
    bottom = top + (len(rows) + 2) * (_BAR + _GAP)
    change = difference.step
    headline = f"{labels[1]} against {labels[0]}: {change.difference_ms:+.3g} ms a step [{change.low_ms:+.3g}, {change.high_ms:+.3g}]"
    parts = [svg.text(16, 26, headline, size=16, bold=True)]
    if difference.caveats:
        parts.append(svg.text(16, 46, "Not like with like: " + "; ".join(difference.caveats)[:120], fill=_SLOWER))
    parts += scale.grid(top, bottom, "ms a step")
    parts += _total(scale, top, labels[0], difference.baseline_step_ms)
    level = difference.baseline_step_ms
    for index, row in enumerate(rows, 1):
        parts += _change(scale, top + index * (_BAR + _GAP), row, level)
        level += row.difference_ms
    parts += _total(scale, top + (len(rows) + 1) * (_BAR + _GAP), labels[1], difference.candidate_step_ms)
    return svg.document(WIDTH, bottom + 40, f"What makes up the difference of {labels[1]} and {labels[0]}", parts)


def _total(scale: _Scale, y: float, label: str, value: float) -> list[str]:
    return [
        svg.text(_LEFT - 10, y + 15, label, anchor="end", bold=True),
        svg.rect(_LEFT, y, scale.x(value) - _LEFT, _BAR, _TOTAL, f"{label}: {value:.3f} ms"),
        svg.text(scale.x(value) + 6, y + 15, f"{value:.3g} ms"),
    ]


def _change(scale: _Scale, y: float, row: Row, level: float) -> list[str]:
    start, end = sorted((level, level + row.difference_ms))
    low, high = scale.x(max(level + row.low_ms, scale.origin)), scale.x(level + row.high_ms)
    tip = f"{row.category}: {row.difference_ms:+.3f} ms [{row.low_ms:+.3f}, {row.high_ms:+.3f}]" + (
        "" if row.changed else ", may be chance"
    )
    middle = y + _BAR / 2
    return [
        svg.text(_LEFT - 10, y + 15, row.category, anchor="end", fill=svg.INK if row.changed else svg.MUTED),
        svg.rect(scale.x(start), y, max(scale.width(end - start), 1.0), _BAR, _SLOWER if row.difference_ms > 0 else _FASTER, tip),
        svg.line(low, middle, high, middle, svg.INK),
        svg.text(max(scale.x(end), high) + 6, y + 15, f"{row.difference_ms:+.3g}", fill=svg.INK if row.changed else svg.MUTED),
    ]


def _legend(categories: Sequence[Category]) -> list[str]:
    parts = []
    for index, category in enumerate(categories):
        x, y = 16 + (index % 6) * 140, 40 + (index // 6) * 20
        parts += [svg.rect(x, y, 12, 12, COLOURS[category]), svg.text(x + 18, y + 11, category)]
    return parts


class _Scale:
    """Milliseconds along the x axis, from 0 or, where `lowest` is given, from the round value below it."""

    def __init__(self, highest: float, lowest: float = 0.0, left: float = _LEFT) -> None:
        self._left = left
        self._ticks = svg.ticks(lowest, highest)
        self.origin = self._ticks[0]
        self._per_ms = (WIDTH - left - _RIGHT) / (self._ticks[-1] - self.origin)

    def width(self, value: float) -> float:
        return value * self._per_ms

    def x(self, value: float) -> float:
        return self._left + self.width(value - self.origin)

    def grid(self, top: float, bottom: float, label: str) -> list[str]:
        parts = []
        for tick in self._ticks:
            parts += [svg.line(self.x(tick), top, self.x(tick), bottom)]
            parts.append(svg.text(self.x(tick), bottom + 16, f"{tick:g}", anchor="middle", fill=svg.MUTED))
        note = f"{label}, axis from {self.origin:g}" if self.origin > 0 else label
        return [*parts, svg.text(WIDTH - _RIGHT, bottom + 32, note, anchor="end", fill=svg.MUTED)]
