"""The objective over page size x chunk budget, one map an arm, the winner framed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from service.pages.charts.theme import Look, chart_of, finished
from service.pages.format import number
from service.pages.study_view import HeatCell

_MOST_LABELLED_COLUMNS = 9
_MOST_LABELLED_ROWS = 24


def heat_map(cells: Sequence[HeatCell], unit: str, less_is_better: bool, look: Look) -> dict[str, Any]:
    """Strong colour is good, whatever the direction. Cells without a value say why."""
    colours = look.colours
    rows, columns = len({cell.block_size for cell in cells}), len({cell.max_num_batched_tokens for cell in cells})
    labelled = columns <= (5 if look.narrow else _MOST_LABELLED_COLUMNS) and rows <= _MOST_LABELLED_ROWS
    place = chart_of(_values(cells, less_is_better)).encode(
        x=alt.X("budget:O", title="chunk budget (tokens)", axis=alt.Axis(labelAngle=0 if columns <= 8 else -60, ticks=False, domain=False)),
        y=alt.Y("page:O", title="page size (tokens)", axis=alt.Axis(ticks=False, domain=False)),
    )
    domain = sorted(cell.value for cell in cells if cell.value is not None) or [0.0]
    scale = alt.Scale(range=[colours.low, colours.high], domain=[domain[0], domain[-1]], reverse=less_is_better, interpolate="lab")
    legend = alt.Legend(title=unit, gradientLength=look.plot_width // 2, orient="bottom", titleColor=colours.muted)
    square = place.mark_rect(cornerRadius=4, stroke=colours.surface, strokeWidth=3)
    layers = [
        square.encode(color=alt.value(colours.missing)).transform_filter("datum.value === null"),
        square.encode(color=alt.Color("value:Q", scale=scale, legend=legend)).transform_filter("datum.value !== null"),
        place.mark_rect(cornerRadius=4, fill=None, stroke=colours.ink, strokeWidth=2.5).transform_filter("datum.winner"),
    ]
    if labelled:
        layers += [
            place.mark_text(fontSize=12).encode(
                text="label:N",
                color=alt.condition("datum.strong", alt.value(colours.on_high), alt.value(colours.on_low)),
            )
        ]
    arms = 1 if look.narrow else max(1, len({cell.arm for cell in cells}))
    side = max(26.0, min(96.0, look.plot_width / arms / max(1, columns)))
    map_of_arm = alt.layer(*layers).properties(width=side * columns, height=min(side, 44.0) * rows)
    faceted = map_of_arm.facet(facet=alt.Facet("arm:N", header=alt.Header(labelAnchor="start")), columns=arms, spacing=28)
    return finished(faceted, look)


def _values(cells: Sequence[HeatCell], less_is_better: bool) -> list[dict[str, Any]]:
    known = [cell.value for cell in cells if cell.value is not None]
    low, extent = (min(known), (max(known) - min(known)) or 1.0) if known else (0.0, 1.0)

    def strong(value: float | None) -> bool:
        if value is None:
            return False
        share = (value - low) / extent
        return (1 - share if less_is_better else share) > 0.55

    return [
        {
            "budget": cell.max_num_batched_tokens,
            "page": cell.block_size,
            "arm": cell.arm,
            "value": cell.value,
            "label": ("★ " if cell.winner else "") + (number(cell.value) if cell.value is not None else cell.word),
            "strong": strong(cell.value),
            "winner": cell.winner,
        }
        for cell in cells
    ]
