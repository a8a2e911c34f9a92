"""The effects of page alignment with their intervals, cell by cell, and the band inside which a difference does not matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import quantiles
from typing import Any

from tuner.report.charts.links import link, link_layer, no_address
from tuner.report.charts.theme import Colours, Look, chart_of, finished
from tuner.report.effects import ARMS_TITLE, POOLED, EffectRow
from tuner.report.legend import MARKS
from tuner.stats.intervals import EQUIVALENCE_RATIO, Verdict
from tuner.verdict.cell_claims import Place

_ROW = 24
_EDGE = 1.08  # room beside the last mark ...
_ARROW = 1.05  # ... of which an arrow takes some
_USUAL = 2.0


def forest(
    rows: Sequence[EffectRow],
    metric: str,
    less_is_better: bool,
    look: Look,
    recommended: Place | None = None,
    *,
    address: Callable[[EffectRow], str] = no_address,
    compared: str = ARMS_TITLE,
) -> dict[str, Any]:
    """One line a cell, in the order given; the last one may be their average, in bold. A row without an effect says "no pair".

    `recommended`: the page size and chunk budget that get a star. `address`: where a row leads to, "" for nowhere.
    `compared`: what with what.
    """
    import altair as alt  # late: a command or a service that draws nothing does without

    bold = alt.condition(f"datum.value == '{POOLED}'", alt.value("bold"), alt.value("normal"))
    colours = look.colours
    reach = _reach(rows)
    values = _named([_value(row, recommended, address(row), reach) for row in rows])
    order = [value["cell"] for value in values]
    y = alt.Y(
        "cell:N",
        sort=order,
        title=None,
        axis=alt.Axis(grid=False, ticks=False, domain=False, labelColor=colours.ink, labelFontWeight=bold),
    )
    direction = "left is better" if less_is_better else "right is better"
    title = f"{metric}: {compared}, % ({direction})"
    x = alt.X(
        "change:Q", title=_lines(title) if look.narrow else title, scale=alt.Scale(domain=[-_EDGE * reach, _EDGE * reach], nice=False)
    )
    width = 100 * (EQUIVALENCE_RATIO - 1)
    base = chart_of(values)
    band = chart_of([{"from": -width, "to": width}])
    scale = alt.Scale(domain=[str(verdict) for verdict in Verdict], range=[_colour(colours, verdict) for verdict in Verdict])
    shapes = alt.Scale(domain=[str(verdict) for verdict in Verdict], range=[MARKS[verdict].shape for verdict in Verdict])
    colour = alt.Color("verdict:N", scale=scale, legend=alt.Legend(columns=2 if look.narrow else 4))
    layers = [
        band.mark_rect(color=colours.band).encode(x="from:Q", x2="to:Q"),
        chart_of([{"at": 0, "text": f"±{width:.0f} %"}])
        .mark_text(baseline="bottom", dy=-3, fontSize=11, color=colours.muted)
        .encode(x="at:Q", y=alt.value(0), text="text:N"),
        chart_of([{"zero": 0}]).mark_rule(color=colours.muted, strokeDash=[3, 3]).encode(x="zero:Q"),
        base.mark_rule(strokeWidth=2.5).encode(y=y, x=alt.X("low:Q"), x2="high:Q", color=colour).transform_filter("datum.low !== null"),
        base.mark_point(filled=True, size=95, opacity=1)
        .encode(y=y, x=x, color=colour, shape=alt.Shape("verdict:N", scale=shapes))
        .transform_filter("datum.change !== null"),
    ]
    layers += [arrows.encode(x="edge:Q", y=y, color=colour) for arrows in _arrows(values, reach)]
    without = [{"zero": 0, "cell": value["cell"]} for value in values if value["change"] is None]
    if without:
        words = chart_of(without).mark_text(text="no pair", fontSize=11, color=colours.muted, align="left", dx=6)
        layers.append(words.encode(x="zero:Q", y=y))
    if any("link" in value for value in values):
        layers.append(link_layer(values, size=420).encode(x="at:Q", y=y))
    return finished(alt.layer(*layers).properties(width=look.plot_width, height=_ROW * max(1, len(values))), look)


def _arrows(values: Sequence[dict[str, Any]], reach: float) -> list[Any]:
    """For what goes on beyond the picture, one chart for each side that has any."""
    charts = []
    for side, shape in ((-1, "triangle-left"), (1, "triangle-right")):
        beyond = [
            {"cell": value["cell"], "edge": side * _ARROW * reach, "verdict": value["verdict"]}
            for value in values
            if side in value["beyond"]
        ]
        if beyond:
            charts.append(chart_of(beyond).mark_point(filled=True, size=60, opacity=1, shape=shape))
    return charts


def _named(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A cell that was judged twice (another environment) gets rows of its own."""
    seen: Counter[str] = Counter()
    for value in values:
        seen[value["cell"]] += 1
        if seen[value["cell"]] > 1:
            value["cell"] += f" ({seen[value['cell']]})"
    return values


def _reach(rows: Sequence[EffectRow]) -> float:
    """How far the axis goes to either side, in percent: to the farthest end, but no further than _USUAL times the upper quartile of all
    rows' ends, so that one noisy cell does not squeeze all others into a line."""
    ends = [max(abs(end) for end in (row.low, row.change, row.high) if end is not None) for row in rows if row.change is not None]
    usual = quantiles(ends, n=4, method="inclusive")[2] if len(ends) > 1 else max(ends, default=0.0)
    return max(2.0, min(max(ends, default=0.0), _USUAL * usual))


def _value(row: EffectRow, recommended: Place | None, address: str, reach: float) -> dict[str, Any]:
    """`beyond`: the sides (-1, 1) on which the interval goes on beyond `reach`. What lies there is drawn at the edge."""
    star = "\N{BLACK STAR} " if row.place == recommended else ""
    change, low, high = (None if end is None else max(-reach, min(reach, end)) for end in (row.change, row.low, row.high))
    ends = [end for end in (row.low, row.change, row.high) if end is not None]
    beyond = [side for side in (-1, 1) if any(side * end > reach for end in ends)]
    value = {"cell": star + row.label, "change": change, "low": low, "high": high, "verdict": row.verdict, "beyond": beyond}
    return {**value, "at": change or 0.0, **link(address, f"{row.label}: {_said(row)}")}


def _said(row: EffectRow) -> str:
    if row.change is None:
        return row.reason or "no pair"
    interval = "" if row.low is None or row.high is None else f" [{row.low:+.2f} % to {row.high:+.2f} %]"
    return f"{row.change:+.2f} %{interval}, {row.verdict}, {row.pairs} pairs; compare the two trials"


def _colour(colours: Colours, verdict: Verdict) -> str:
    return str(getattr(colours, verdict.value))


def _lines(title: str) -> list[str]:
    """What a phone has room for in one line."""
    metric, _, rest = title.partition(": ")
    arms, _, direction = rest.rpartition(" (")
    return [f"{metric}:", arms, f"({direction}"]
