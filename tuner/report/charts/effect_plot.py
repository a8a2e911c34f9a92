"""What each level of each setting is worth on average over the cells, with its interval, over the changes in single cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuner.core.factors import level_text
from tuner.report.charts.theme import Look, chart_of, finished
from tuner.verdict.main_effects import MainEffect

MOST_ROWS = 40
MOST_MARKS = 41  # of single cells in a row
_ROW = 36  # two lines of text
_BEYOND = 1.3  # times the largest change of a cell
_KINDS = ("every cell has every level", "some cells only")


def shown_effects(effects: Sequence[MainEffect]) -> list[MainEffect]:
    """The largest where there are too many, in the order given."""
    largest = sorted(effects, key=lambda item: -abs(item.change))[:MOST_ROWS]
    kept = set(map(id, largest))
    return [item for item in effects if id(item) in kept]


def effect_plot(effects: Sequence[MainEffect], metric: str, less_is_better: bool, look: Look) -> dict[str, Any]:
    """A row for each level. Marks that lie apart are interactions: what the level is worth depends on the other settings. An interval is
    cut where it goes beyond the picture, which shows all single cells."""
    import altair as alt  # late: a command or a service that draws nothing does without

    colours = look.colours
    shown = shown_effects(effects)
    reach = max(2.0, _BEYOND * max(abs(cell) for item in shown for cell in item.cells))
    rows = [
        {
            "row": _label(item),
            "change": item.change,
            "low": None if item.low is None else max(-reach, item.low),
            "high": None if item.high is None else min(reach, item.high),
            "kind": _KINDS[not item.balanced],
        }
        for item in shown
    ]
    marks = [{"row": _label(item), "cell": cell} for item in shown for cell in _some(item.cells)]
    order = [_label(item) for item in shown]
    y = alt.Y(
        "row:N",
        sort=order,
        title=None,
        axis=alt.Axis(grid=False, ticks=False, domain=False, labelColor=colours.ink, labelExpr="split(datum.value, '|')"),
    )
    direction = "left is better" if less_is_better else "right is better"
    title = [f"{metric}:", "average change over cells, %", f"({direction})"]  # in three lines on a phone
    x = alt.X("change:Q", title=title if look.narrow else " ".join(title), scale=alt.Scale(domain=[-reach, reach], nice=False))
    base = chart_of(rows)
    kind = alt.Shape("kind:N", scale=alt.Scale(domain=list(_KINDS), range=["circle", "diamond"]), legend=alt.Legend(title=None, columns=1))
    layers = [
        chart_of([{"zero": 0}]).mark_rule(color=colours.muted, strokeDash=[3, 3]).encode(x="zero:Q"),
        chart_of(marks).mark_tick(color=colours.muted, opacity=0.55, thickness=1.5, size=12).encode(x="cell:Q", y=y),
        base.mark_rule(strokeWidth=2.5, color=colours.ink).encode(y=y, x="low:Q", x2="high:Q").transform_filter("datum.low !== null"),
        base.mark_point(filled=True, size=95, opacity=1, color=colours.page_aligned).encode(y=y, x=x, shape=kind),
    ]
    return finished(alt.layer(*layers).properties(width=look.plot_width, height=_ROW * max(1, len(rows))), look)


def _label(item: MainEffect) -> str:
    """Two lines: a long name of a setting and its levels do not fit into one."""
    return f"{item.noun}|{level_text(item.level)} / {level_text(item.baseline)}"


def _some(cells: Sequence[float]) -> Sequence[float]:
    """Evenly over the sorted ones, with both ends."""
    if len(cells) <= MOST_MARKS:
        return cells
    return [cells[round(place * (len(cells) - 1) / (MOST_MARKS - 1))] for place in range(MOST_MARKS)]
