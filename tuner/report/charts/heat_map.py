"""Values over page size x chunk budget, one map an arm (or one map of the effects), the winner framed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.report.charts.links import link, no_address
from tuner.report.charts.theme import Look, chart_of, finished
from tuner.report.effects import HeatCell

MISSES_SLO = "\N{BALLOT X}"
_LABEL_PX = 56  # what the longest label takes
_LEAST_MAP_PX = 130  # the title of the axis below it ...
_LEAST_HEIGHT_PX = 76  # ... and of the one beside it
_TALLEST_PX = 44.0


@dataclass(frozen=True)
class _Layout:
    """`abreast`: maps in a row. `side`: a cell's width in pixels."""

    abreast: int
    side: float
    labelled: bool

    def height(self, rows: int) -> float:
        """Of a cell."""
        return max(min(_TALLEST_PX, max(self.side, 18.0)), _LEAST_HEIGHT_PX / rows)


def _layout(columns: int, arms: int, look: Look) -> _Layout:
    """Arms stand beside each other where their labels have room, else below each other."""
    abreast = arms if not look.narrow and columns * arms * _LABEL_PX <= look.full_width else 1
    room = look.full_width if abreast == 1 else look.plot_width
    side = max(min(96.0, max(room / abreast / columns, _LABEL_PX if abreast > 1 else 0.0)), _LEAST_MAP_PX / columns)
    return _Layout(abreast, side, side >= (48 if look.narrow else _LABEL_PX))


def heat_map(
    cells: Sequence[HeatCell], unit: str, less_is_better: bool, look: Look, *, address: Callable[[HeatCell], str] = no_address
) -> dict[str, Any]:
    """Strong colour is good, whatever the direction. Cells without a value say why, and those that miss an SLO have a cross and a dashed
    frame. `address`: where a cell leads to."""
    import altair as alt  # late: a command or a service that draws nothing does without

    colours = look.colours
    rows, columns = len({cell.block_size for cell in cells}), len({cell.max_num_batched_tokens for cell in cells})
    layout = _layout(max(1, columns), max(1, len({cell.title for cell in cells})), look)
    axis = alt.Axis(labelAngle=0 if layout.labelled else -60, labelOverlap=True, ticks=False, domain=False)
    x = alt.X("budget:O", title="chunk budget (tokens)", axis=axis)
    y = alt.Y("page:O", title="page size", axis=alt.Axis(ticks=False, domain=False))
    values = _values(cells, unit, less_is_better, address)
    place = chart_of(values).encode(x=x, y=y)
    known = sorted(cell.value for cell in cells if cell.value is not None)
    domain = known or [0.0]
    scale = alt.Scale(range=[colours.low, colours.high], domain=[domain[0], domain[-1]], reverse=less_is_better, interpolate="lab")
    length = min(280, int(layout.side * columns))
    legend = alt.Legend(title=unit, gradientLength=length, tickCount=3, orient="bottom", titleColor=colours.muted)
    colour = alt.Color("value:Q", scale=scale, legend=legend if len(known) > 1 else None)
    square = place.mark_rect(cornerRadius=4 if layout.labelled else 0, stroke=colours.surface, strokeWidth=3 if layout.labelled else 1)
    layers = [
        square.encode(color=alt.value(colours.missing)).transform_filter("datum.value === null"),
        square.encode(color=colour).transform_filter("datum.value !== null"),
        place.mark_rect(cornerRadius=4, fill=None, stroke=colours.worse, strokeWidth=2, strokeDash=[4, 3]).transform_filter("datum.missed"),
        place.mark_rect(cornerRadius=4, fill=None, stroke=colours.ink, strokeWidth=2.5).transform_filter("datum.winner"),
        place.mark_text(fontSize=12).encode(
            text="label:N" if layout.labelled else "sign:N",
            color=alt.condition("datum.strong", alt.value(colours.on_high), alt.value(colours.on_low)),
        ),
    ]
    if any("link" in value for value in values):
        layers.append(place.mark_rect(opacity=0, aria=True).encode(description="link:N").transform_filter("isValid(datum.link)"))
    map_of_arm = alt.layer(*layers).properties(width=layout.side * columns, height=layout.height(max(1, rows)) * rows)
    faceted = map_of_arm.facet(facet=alt.Facet("arm:N", header=alt.Header(labelAnchor="start")), columns=layout.abreast, spacing=28)
    return finished(faceted, look)


def _values(cells: Sequence[HeatCell], unit: str, less_is_better: bool, address: Callable[[HeatCell], str]) -> list[dict[str, Any]]:
    known = [cell.value for cell in cells if cell.value is not None]
    low, extent = (min(known), (max(known) - min(known)) or 1.0) if known else (0.0, 1.0)

    def strong(value: float | None) -> bool:
        if value is None:
            return False
        fraction = (value - low) / extent
        return (1 - fraction if less_is_better else fraction) > 0.55

    return [
        {
            "budget": cell.max_num_batched_tokens,
            "page": cell.block_size,
            "arm": cell.title,
            "value": cell.value,
            "label": " ".join(filter(None, [_signs(cell), cell.label])),
            "sign": _signs(cell),
            "strong": strong(cell.value),
            "winner": cell.winner,
            "missed": bool(cell.misses),
            **link(address(cell), _said(cell, unit)),
        }
        for cell in cells
    ]


def _signs(cell: HeatCell) -> str:
    return ("\N{BLACK STAR}" if cell.winner else "") + (MISSES_SLO if cell.misses else "")


def _said(cell: HeatCell, unit: str) -> str:
    value = f"{cell.label} {unit}" if cell.value is not None else cell.label
    misses = f", misses {' and '.join(cell.misses)}" if cell.misses else ""
    recommended = ", recommended" if cell.winner else ""
    return f"{cell.title}, page size {cell.block_size}, chunk budget {cell.max_num_batched_tokens}: {value}{misses}{recommended}"
