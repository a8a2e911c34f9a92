"""One line a trial over an axis for each setting that varies, and one for the objective: strong colour is good."""

from __future__ import annotations

from typing import Any

from service.pages.format import number
from service.pages.parallel_view import Line, Parallel, axis_title, line_words
from tuner.core.factors import level_text
from tuner.report.charts.links import link, link_layer
from tuner.report.charts.theme import Look, chart_of, finished

_HEIGHT_PX = 260
_MOST_LABELS = 12  # of an axis; of more every second, third, ... has one


def parallel(found: Parallel, metric: str, unit: str, less_is_better: bool, look: Look) -> dict[str, Any]:
    """The recommended line is drawn in ink and thicker, with a diamond at its end."""
    import altair as alt  # late: a command or a service that draws nothing does without

    colours = look.colours
    titles = [*map(axis_title, found.axes), metric]
    x = alt.X(
        "axis:N", sort=titles, title=None, scale=alt.Scale(padding=0.3), axis=alt.Axis(labelAngle=-40 if look.narrow else -20, grid=True)
    )
    y = alt.Y("height:Q", axis=None, scale=alt.Scale(domain=[-0.04, 1.04], nice=False))
    values = [line.value for line in found.lines]
    scale = alt.Scale(range=[colours.low, colours.high], domain=[min(values), max(values)], reverse=less_is_better, interpolate="lab")
    legend = alt.Legend(title=unit, gradientLength=200, tickCount=3, orient="bottom", titleColor=colours.muted)
    points = [point for line in found.lines for point in _points(line, found, metric)]
    ends = [_end(line, found, metric, unit) for line in found.lines]
    lines = chart_of(points).encode(x=x, y=y, detail="trial:N", order="nth:Q")
    labels = chart_of(_labels(found, metric)).encode(x=x, y=y, text="label:N")
    layers = [
        lines.mark_line(strokeWidth=1.6, opacity=0.75).encode(color=alt.Color("value:Q", scale=scale, legend=legend)),
        lines.mark_line(strokeWidth=3.2, color=colours.ink).transform_filter("datum.winner"),
        labels.mark_text(align="left", dx=6, fontSize=12, stroke=colours.surface, strokeWidth=5),  # so that no line runs through one
        labels.mark_text(align="left", dx=6, fontSize=12, color=colours.ink),
        chart_of([end for end in ends if end["winner"]])
        .mark_point(shape="diamond", filled=True, size=130, color=colours.ink, opacity=1)
        .encode(x=x, y=y),
        link_layer(ends, size=150).encode(x=x, y=y),
    ]
    return finished(alt.layer(*layers).properties(width=look.full_width, height=_HEIGHT_PX), look)


def _points(line: Line, found: Parallel, metric: str) -> list[dict[str, Any]]:
    common = {"trial": line.trial.number, "value": line.value, "winner": line.winner}
    heights = [axis.height(level) for axis, level in zip(found.axes, line.levels, strict=True)]
    titles = [*map(axis_title, found.axes), metric]
    return [
        {**common, "axis": title, "height": height, "nth": nth}
        for nth, (title, height) in enumerate(zip(titles, [*heights, _value_height(line, found)], strict=True))
    ]


def _end(line: Line, found: Parallel, metric: str, unit: str) -> dict[str, Any]:
    """Where a line meets the objective's axis, which leads to its trial."""
    words = f"trial {line.trial.number}, {line_words(line, found)}: {number(line.value)} {unit}{', recommended' if line.winner else ''}"
    return {"axis": metric, "height": _value_height(line, found), "winner": line.winner, **link(f"/trials/{line.trial.id}", words)}


def _value_height(line: Line, found: Parallel) -> float:
    values = [item.value for item in found.lines]
    return (line.value - min(values)) / ((max(values) - min(values)) or 1.0)


def _labels(found: Parallel, metric: str) -> list[dict[str, Any]]:
    labels = []
    for axis in found.axes:
        step = -(-len(axis.levels) // _MOST_LABELS)
        labels += [{"axis": axis_title(axis), "height": axis.height(level), "label": level_text(level)} for level in axis.levels[::step]]
    values = [line.value for line in found.lines]
    return [*labels, *({"axis": metric, "height": height, "label": number(end)} for height, end in ((0, min(values)), (1, max(values))))]
