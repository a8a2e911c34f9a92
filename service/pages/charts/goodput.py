"""Goodput by rate, or by requests at once, and where the SLOs stop to hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tuner.capacity.answer import CurvePoint
from tuner.capacity.loads import RATE, LoadKind
from tuner.report.charts.theme import Look, chart_of, finished


class Edge(Protocol):
    """Where the SLOs stop to hold, as far as that is known."""

    @property
    def edge(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def goodput(points: Sequence[CurvePoint], run: Edge, look: Look, kind: LoadKind = RATE) -> dict[str, Any]:
    """A point for each rate, filled where all its windows held; the edge as a line, its interval as a band."""
    import altair as alt  # late: a command or a service that draws nothing does without

    colours, title = look.colours, "requests/s that arrive" if kind.open_loop else kind.unit
    values = [
        {"rate": point.rate, "goodput": point.goodput, "held": "held" if point.held == point.windows else "did not hold"}
        for point in points
        if point.goodput is not None
    ]
    axis = alt.Axis(tickCount=look.ticks)
    x = alt.X("rate:Q", title=title, scale=alt.Scale(zero=True), axis=axis)
    y = alt.Y("goodput:Q", title="goodput, requests/s", scale=alt.Scale(zero=True))
    kinds = alt.Scale(domain=["held", "did not hold"], range=[colours.page_aligned, colours.worse])
    shapes = alt.Scale(domain=["held", "did not hold"], range=["circle", "triangle-down"])
    layers: list[Any] = []
    if run.low is not None and run.high is not None:
        band = chart_of([{"low": run.low, "high": run.high}]).mark_rect(color=colours.band)
        layers.append(band.encode(x=alt.X("low:Q", title=title), x2="high:Q"))
    if run.edge is not None:
        line = chart_of([{"edge": run.edge}]).mark_rule(color=colours.ink, strokeWidth=2, strokeDash=[5, 4])
        layers.append(line.encode(x=alt.X("edge:Q", title=title)))
    base = chart_of(values)
    layers.append(base.mark_line(color=colours.muted, strokeWidth=1.5).encode(x=x, y=y))
    points_drawn = base.mark_point(filled=True, size=70, opacity=1)
    layers.append(points_drawn.encode(x=x, y=y, color=alt.Color("held:N", scale=kinds), shape=alt.Shape("held:N", scale=shapes)))
    return finished(alt.layer(*layers).properties(width=look.plot_width, height=240), look)
