"""Two metrics against each other, and the front of those that no other configuration beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.pages.tradeoff_view import TradeOff, TradeOffPoint
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.report.charts.theme import Look, chart_of, finished


def tradeoff(found: TradeOff, look: Look) -> dict[str, Any]:
    import altair as alt  # late: a command or a service that draws nothing does without

    colours = look.colours
    base = chart_of([_value(point) for point in found.points])
    front = chart_of([_value(point) for point in _front(found.points)])
    x = alt.X("x:Q", title=found.x_title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=look.ticks))
    y = alt.Y("y:Q", title=found.y_title, scale=alt.Scale(zero=False))
    arms = alt.Scale(domain=[ARM_DEFAULT, ARM_PAGE_ALIGNED], range=[colours.default, colours.page_aligned])
    shapes = alt.Scale(domain=[ARM_DEFAULT, ARM_PAGE_ALIGNED], range=["circle", "triangle-up"])
    chart = alt.layer(
        front.mark_line(color=colours.muted, strokeWidth=1.5, strokeDash=[4, 3]).encode(x=x, y=y),
        base.mark_point(filled=True, size=75).encode(
            x=x,
            y=y,
            color=alt.Color("arm:N", scale=arms),
            shape=alt.Shape("arm:N", scale=shapes),
            opacity=alt.condition("datum.front", alt.value(1), alt.value(0.45)),
        ),
        chart_of([_value(point) for point in found.points if point.winner])
        .mark_point(size=330, strokeWidth=2, color=colours.ink, filled=False, shape="circle")
        .encode(x=x, y=y),
    )
    return finished(chart.properties(width=look.half_width, height=260), look)


def _front(points: Sequence[TradeOffPoint]) -> list[TradeOffPoint]:
    return sorted((point for point in points if point.front), key=lambda point: (point.x, point.y))


def _value(point: TradeOffPoint) -> dict[str, Any]:
    return {"x": point.x, "y": point.y, "arm": point.arm, "front": point.front}
