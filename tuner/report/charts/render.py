"""Vega-Lite specifications -> SVG text; no script draws in the browser. Kept by content: one picture costs a tenth of a second."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from html import escape
from threading import Lock
from typing import Any

from tuner.report.charts.links import has_links, with_links

_KEPT = 400
_NUMBERS = {"decimal": ".", "thousands": "\N{NO-BREAK SPACE}", "grouping": [3], "currency": ["", ""]}  # as the pages write them


class Renderer:
    """Safe to use from several threads; the pictures last used are kept."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._pictures: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()
        self._drawing = Lock()  # one at a time: drawing keeps a core busy

    def picture(self, spec: dict[str, Any], title: str, description: str) -> str:
        """`title` and `description` are what a screen reader says."""
        key = hashlib.sha256(json.dumps([spec, title, description], sort_keys=True).encode()).hexdigest()
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        import vl_convert  # late, as Altair

        with self._drawing:
            drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[], format_locale=_NUMBERS)
        found = described(with_links(drawn), title, description, role="group" if has_links(drawn) else "img")
        with self._lock:
            self._pictures[key] = found
            while len(self._pictures) > self._kept:
                self._pictures.popitem(last=False)
        return found


def described(svg: str, title: str, description: str, role: str = "img") -> str:
    """The same picture with a title and a description as its first children. `role`: "group" where it has parts to go to."""
    start, tag, rest = svg.partition(">")
    return f'{start} role="{role}"{tag}<title>{escape(title)}</title><desc>{escape(description)}</desc>{rest}'
