"""Marks that lead somewhere: invisible ones over what is seen, with an address and words, which become links in the finished SVG.

Vega's own `href` makes every address absolute, and its tooltips need its script. So the two travel in the mark's description.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuner.report.charts.theme import chart_of

if TYPE_CHECKING:
    import altair as alt

_PREFIX = "link "
_MARK = re.compile(r'<path aria-label="link (\S+) ([^"]*)"([^>]*)/>')
_TAG = re.compile(r"<[a-z]+ [^>]*>")
_SAID = re.compile(r' (?:role="graphics-[a-z]+"|aria-roledescription="[^"]*"|aria-label="(?!link )[^"]*")')


def no_address(_: object) -> str:
    """For a chart without links."""
    return ""


def link(address: str, words: str) -> dict[str, str]:
    """What a row of a chart's data needs to be a link; nothing where `address` is "". `words` are shown and said."""
    return {"link": f"{_PREFIX}{address} {words}"} if address else {}


def link_layer(values: Sequence[dict[str, Any]], size: float) -> alt.Chart:
    """Points of `size` square pixels over those rows that are links, to be placed by the layer's encoding."""
    import altair as alt  # late: a command or a service that draws nothing does without

    marks = chart_of([value for value in values if "link" in value]).mark_point(filled=True, size=size, opacity=0, aria=True)
    layer: alt.Chart = marks.encode(description=alt.Description("link:N"))
    return layer


def with_links(svg: str) -> str:
    """Each described mark as a link around it; a picture without any as it is. Vega has escaped the words.

    What Vega says of all other marks ("point", "x: 1; y: 2") is left out: the links say it better, and in a page each would be an image
    without a name.
    """
    if not has_links(svg):
        return svg
    return _MARK.sub(lambda found: _anchor(*found.groups()), _TAG.sub(lambda tag: _SAID.sub("", tag[0]), svg))


def has_links(svg: str) -> bool:
    return _MARK.search(svg) is not None


def _anchor(address: str, words: str, attributes: str) -> str:
    return f'<a href="{address}" aria-label="{words}"><title>{words}</title><path{attributes}/></a>'
