"""Two metrics against each other, the front of those that no other configuration beats in both, and the limits that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.pages.format import number
from service.pages.tradeoff_view import TradeOff, TradeOffPoint
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.core.factors import further
from tuner.metrics.objective import Slo
from tuner.report.charts.links import link, link_layer
from tuner.report.charts.theme import Look, chart_of, finished

if TYPE_CHECKING:
    import altair as alt


def tradeoff(found: TradeOff, look: Look) -> dict[str, Any]:
    """Points that miss an SLO are hollow. A limit that lies so far off that it would squeeze the points is told in a line above."""
    import altair as alt  # late: a command or a service that draws nothing does without

    colours = look.colours
    values = [_value(point, found) for point in found.points]
    drawn = [slo for slo in found.slos if _is_near(slo, found)]
    x = alt.X("x:Q", title=found.x_title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=look.ticks))
    y = alt.Y("y:Q", title=found.y_title, scale=alt.Scale(zero=False))
    arms = alt.Color("arm:N", scale=alt.Scale(domain=[ARM_DEFAULT, ARM_PAGE_ALIGNED], range=[colours.default, colours.page_aligned]))
    shapes = alt.Shape("arm:N", scale=alt.Scale(domain=[ARM_DEFAULT, ARM_PAGE_ALIGNED], range=["circle", "triangle-up"]))
    opacity = alt.condition("datum.front", alt.value(1), alt.value(0.45))
    layers = [
        chart_of([_value(point, found) for point in _front(found.points)])
        .mark_line(color=colours.muted, strokeWidth=1.5, strokeDash=[4, 3])
        .encode(x=x, y=y),
        *(layer for slo in drawn for layer in _limit(slo, found, look)),
        _points(values, missed=False).mark_point(filled=True, size=75).encode(x=x, y=y, color=arms, shape=shapes, opacity=opacity),
        _points(values, missed=True)
        .mark_point(filled=False, size=75, strokeWidth=1.8)
        .encode(x=x, y=y, color=arms, shape=shapes, opacity=opacity),
        chart_of([value for value in values if value["winner"]])
        .mark_point(size=330, strokeWidth=2, color=colours.ink, filled=False, shape="circle")
        .encode(x=x, y=y),
        link_layer(values, size=260).encode(x=x, y=y),
    ]
    chart = alt.layer(*layers).properties(width=look.half_width, height=260)
    beyond = [f"{slo}: {_standing(slo, found)}" for slo in found.slos if slo not in drawn]
    return finished(chart.properties(title=alt.Title(beyond, fontSize=11, fontWeight="normal")) if beyond else chart, look)


def _points(values: Sequence[dict[str, Any]], *, missed: bool) -> alt.Chart:
    return chart_of([value for value in values if value["missed"] is missed])


def _limit(slo: Slo, found: TradeOff, look: Look) -> list[alt.Chart]:
    """A line with its words at the end where there is room for them."""
    import altair as alt

    colours = look.colours
    values = chart_of([{"limit": slo.limit, "words": str(slo)}])
    if slo.metric == found.x_metric:
        right = slo.limit > (min(point.x for point in found.points) + max(point.x for point in found.points)) / 2
        words = values.mark_text(
            align="right" if right else "left", baseline="top", dx=-5 if right else 5, dy=2, fontSize=11, color=colours.worse
        )
        return [
            values.mark_rule(color=colours.worse, strokeWidth=1.5).encode(x="limit:Q"),
            words.encode(x="limit:Q", y=alt.value(0), text="words:N"),
        ]
    words = values.mark_text(align="right", baseline="bottom", dx=-4, dy=-3, fontSize=11, color=colours.worse)
    return [
        values.mark_rule(color=colours.worse, strokeWidth=1.5).encode(y="limit:Q"),
        words.encode(x=alt.value(look.half_width), y="limit:Q", text="words:N"),
    ]


def _is_near(slo: Slo, found: TradeOff) -> bool:
    """Within the points' extent, or beyond it by no more than that extent again."""
    values = _along(slo, found)
    reach = max(values) - min(values)
    return min(values) - reach <= slo.limit <= max(values) + reach


def _standing(slo: Slo, found: TradeOff) -> str:
    met = sum(slo.is_met(value) for value in _along(slo, found))
    count = len(found.points)
    return "met by all" if met == count else "met by none" if met == 0 else f"met by {met} of {count}"


def _along(slo: Slo, found: TradeOff) -> list[float]:
    return [point.x if slo.metric == found.x_metric else point.y for point in found.points]


def _front(points: Sequence[TradeOffPoint]) -> list[TradeOffPoint]:
    return sorted((point for point in points if point.front), key=lambda point: (point.x, point.y))


def _value(point: TradeOffPoint, found: TradeOff) -> dict[str, Any]:
    trial = point.trial
    words = (
        f"trial {trial.number}, {point.arm}, page size {trial.block_size}, chunk budget {trial.max_num_batched_tokens}"
        f"{further(trial.factors)}: "
        f"{found.y_metric} {number(point.y)}, {found.x_metric} {number(point.x)}"
    )
    missed = f", misses {' and '.join(point.misses)}" if point.misses else ""
    return {
        "x": point.x,
        "y": point.y,
        "arm": point.arm,
        "front": point.front,
        "winner": point.winner,
        "missed": bool(point.misses),
        **link(f"/trials/{point.trial.id}", words + missed),
    }
