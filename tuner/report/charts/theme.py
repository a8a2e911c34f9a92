"""How charts look: four ways, light and dark, wide for a desk and narrow for a phone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt


class Scheme(StrEnum):
    LIGHT = "light"
    DARK = "dark"


class Size(StrEnum):
    WIDE = "wide"
    NARROW = "narrow"


@dataclass(frozen=True)
class Colours:
    """Verdicts and arms differ in form or place as well, never in colour alone."""

    surface: str
    ink: str
    muted: str
    grid: str
    band: str  # the equivalence band
    default: str
    page_aligned: str
    better: str
    worse: str
    equivalent: str
    inconclusive: str
    missing: str  # a cell without a value
    low: str  # of a heat map
    high: str
    on_low: str  # text on them
    on_high: str


_COLOURS = {
    Scheme.LIGHT: Colours(
        surface="#ffffff",
        ink="#18212f",
        muted="#566173",
        grid="#e3e8ef",
        band="#e8edf4",
        default="#64748b",
        page_aligned="#0f766e",
        better="#157f3d",
        worse="#c2410c",
        equivalent="#566173",
        inconclusive="#8a6d00",
        missing="#eef1f5",
        low="#e6f4f1",
        high="#0b6b63",
        on_low="#18212f",
        on_high="#ffffff",
    ),
    Scheme.DARK: Colours(
        surface="#161c26",
        ink="#e7ecf3",
        muted="#a3afc0",
        grid="#2c3543",
        band="#232c3a",
        default="#94a3b8",
        page_aligned="#2dd4bf",
        better="#4ade80",
        worse="#fb923c",
        equivalent="#a3afc0",
        inconclusive="#e2c04c",
        missing="#212936",
        low="#1b3236",
        high="#5eead4",
        on_low="#e7ecf3",
        on_high="#0b1a1a",
    ),
}


@dataclass(frozen=True)
class Look:
    """One of the four."""

    scheme: Scheme = Scheme.LIGHT
    size: Size = Size.WIDE

    @property
    def colours(self) -> Colours:
        return _COLOURS[self.scheme]

    @property
    def narrow(self) -> bool:
        return self.size is Size.NARROW

    @property
    def plot_width(self) -> int:
        """Of what lies between the axes, pixels."""
        return 230 if self.narrow else 640

    @property
    def full_width(self) -> int:
        """The same for a picture that has the page to itself."""
        return 250 if self.narrow else 920

    @property
    def ticks(self) -> int:
        """About so many along half a width: readers' fonts may be wider than the one measured with."""
        return 4 if self.narrow else 6

    @property
    def half_width(self) -> int:
        """The same for one of two pictures beside each other."""
        return 230 if self.narrow else 410


def chart_of(values: Sequence[dict[str, Any]]) -> alt.Chart:
    """A chart over these rows, which become a part of its specification: nothing is ever loaded."""
    import altair as alt

    return alt.Chart(alt.Data(values=list(values)))  # type: ignore[no-untyped-call]


def finished(chart: alt.LayerChart | alt.Chart | alt.HConcatChart | alt.VConcatChart | alt.FacetChart, look: Look) -> dict[str, Any]:
    """The chart as a Vega-Lite specification in the house's colours and letters."""
    colours = look.colours
    spec: dict[str, Any] = chart.to_dict(validate=False)
    text = {
        "labelColor": colours.muted,
        "titleColor": colours.muted,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 12,
    }
    spec["config"] = {
        "aria": False,  # a picture is described as a whole; only links say what they are (tuner.report.charts.links)
        "background": colours.surface,
        "padding": {"left": 14, "right": 14, "top": 6, "bottom": 6},  # readers' fonts may be wider than the one measured with
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {
            **text,
            "gridColor": colours.grid,
            "domainColor": colours.grid,
            "tickColor": colours.grid,
            "labelLimit": 160,
        },
        "axisQuantitative": {"labelOverlap": "greedy", "labelSeparation": 12},
        "header": {"labelColor": colours.ink, "labelFontSize": 13, "labelFontWeight": 600, "title": None},
        "legend": {**text, "labelColor": colours.ink, "orient": "top", "symbolSize": 90, "title": None},
        "title": {"color": colours.ink, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
        "text": {"color": colours.ink, "fontSize": 12},
    }
    return spec
