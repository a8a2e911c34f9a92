"""The pictures of profiles, drawn in light colours, in the service's colours."""

from __future__ import annotations

from profiles import svg
from tuner.report.charts.theme import Look, Scheme


def picture_of(drawn: str, scheme: Scheme) -> str:
    """Ground, text and lines change; the categories keep their colours in both."""
    if scheme is Scheme.DARK:
        colours = Look(Scheme.DARK).colours
        for light, dark in (("#ffffff", colours.surface), (svg.INK, colours.ink), (svg.MUTED, colours.muted), (svg.GRID, colours.grid)):
            drawn = drawn.replace(f'"{light}"', f'"{dark}"')
    return drawn
