"""Templates: autoescaping always, and the few filters that they use."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from service.pages import format as as_text
from service.pages.answer_view import compared_title, compared_words
from service.pages.next_step import study_badge
from service.web.caching import conditional
from tuner.core.factors import further
from tuner.core.reason import MOST_CHARACTERS
from tuner.report.cell_why import both_arms
from tuner.report.legend import MARKS
from tuner.trials.retry import attempts_of, attempts_words
from tuner.verdict.changes import change_rows
from tuner.verdict.price import cell_price

FOLDER = Path(__file__).resolve().parents[1]
STATIC = FOLDER / "static"


@cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("number", "change", "percent", "duration", "moment", "machine_moment", "size", "typeset"):
        made.filters[name] = getattr(as_text, name)
    made.filters["code"] = code
    made.filters["attempts"] = attempts_of
    made.filters["attempts_words"] = attempts_words
    made.filters["further"] = further
    made.filters["breakable"] = breakable
    made.filters["both_arms"] = both_arms
    made.filters["change_rows"] = change_rows
    made.filters["cell_price"] = cell_price
    made.filters["compared_title"] = compared_title
    made.filters["compared_words"] = compared_words
    made.globals["asset"] = asset
    made.globals["marks"] = MARKS
    made.globals["most_reason"] = MOST_CHARACTERS
    made.globals["study_badge"] = study_badge
    return made


@cache
def asset(name: str) -> str:
    """The address of a static file, with its content's hash, so that browsers may keep it."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def code(text: str) -> Markup:
    """`words` in backquotes as code; everything else stays text."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped before


def breakable(name: str) -> Markup:
    """A metric's name that may go on in the next line behind an underscore, and not in the midst of a word."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))  # noqa: S704  # escaped before


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """The page, or 304 where the reader has this very one."""
    text = environment().get_template(template).render(path=request.url.path, query=request.query_params, **context)
    return conditional(request, HTMLResponse(text, status))


def error_page(scope: Scope, title: str, detail: str) -> bytes:
    """For service.web.middleware.Gate."""
    text = environment().get_template("error.html").render(path=scope["path"], query=QueryParams(), title=title, message=detail)
    return text.encode()
