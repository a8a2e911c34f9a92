"""Every trial's value in the order they finished, and the best so far as a step line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.pages.format import number
from service.pages.study_view import HistoryPoint
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.core.factors import further
from tuner.report.charts.links import link, link_layer
from tuner.report.charts.theme import Look, chart_of, finished


def history(points: Sequence[HistoryPoint], unit: str, look: Look) -> dict[str, Any]:
    import altair as alt  # late: a command or a service that draws nothing does without

    colours = look.colours
    values = [_value(point, unit) for point in points]
    few = len(points) <= 2 * look.ticks
    axis = alt.Axis(grid=False, format="d", **({"values": list(range(1, len(points) + 1))} if few else {"tickCount": look.ticks}))
    base = chart_of(values).encode(x=alt.X("order:Q", title="finished trials", axis=axis, scale=alt.Scale(nice=False)))
    y = alt.Y("value:Q", title=unit, scale=alt.Scale(zero=False))
    arms = alt.Scale(domain=[ARM_DEFAULT, ARM_PAGE_ALIGNED], range=[colours.default, colours.page_aligned])
    shapes = alt.Scale(domain=[ARM_DEFAULT, ARM_PAGE_ALIGNED], range=["circle", "triangle-up"])
    chart = alt.layer(
        base.mark_line(interpolate="step-after", color=colours.ink, strokeWidth=2).encode(y=alt.Y("best:Q", title=unit)),
        base.mark_point(filled=True, size=55, opacity=0.85).encode(
            y=y, color=alt.Color("arm:N", scale=arms), shape=alt.Shape("arm:N", scale=shapes)
        ),
        link_layer(values, size=260).encode(x="order:Q", y=y),
    )
    return finished(chart.properties(width=look.half_width, height=210), look)


def _value(point: HistoryPoint, unit: str) -> dict[str, Any]:
    trial = point.trial
    place = f"page size {trial.block_size}, chunk budget {trial.max_num_batched_tokens}{further(trial.factors)}"
    words = f"trial {trial.number}, {point.arm}, {place}: {number(point.value)} {unit}"
    return {"order": point.order, "value": point.value, "best": point.best, "arm": point.arm, **link(f"/trials/{trial.id}", words)}
