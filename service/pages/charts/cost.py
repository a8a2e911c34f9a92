"""Where the search's wall time went, as one bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.pages.study_view import CostPart
from tuner.report.charts.theme import Look, chart_of, finished


def cost(parts: Sequence[CostPart], look: Look) -> dict[str, Any]:
    """Measuring is what the search is for; everything else is overhead and lighter."""
    import altair as alt  # late: a command or a service that draws nothing does without

    colours = look.colours
    names = [part.name for part in parts]
    paints = {"measure": colours.page_aligned, "start": colours.default, "warm_up": colours.inconclusive, "profile": colours.ink}
    scale = alt.Scale(domain=names, range=[paints.get(name, colours.grid) for name in names])
    unit, length = _unit(sum(part.seconds for part in parts))
    values = [{"part": part.name, "spent": part.seconds / length, "place": place} for place, part in enumerate(parts)]
    axis = alt.Axis(tickCount=look.ticks)
    bar = (
        chart_of(values)
        .mark_bar(height=26, stroke=colours.surface, strokeWidth=1)
        .encode(
            x=alt.X("spent:Q", stack="zero", title=f"{unit} of wall time", scale=alt.Scale(nice=False), axis=axis),
            color=alt.Color("part:N", scale=scale, sort=names, legend=alt.Legend(columns=3 if look.narrow else 6)),
            order="place:O",
        )
    )
    return finished(bar.properties(width=look.plot_width + 60, height=30), look)


def _unit(seconds: float) -> tuple[str, float]:
    """(name, seconds) of the unit in which a total has few digits."""
    units = (("hours", 3600.0), ("minutes", 60.0))
    return next((unit for unit in units if seconds >= 2 * unit[1]), ("seconds", 1.0))
