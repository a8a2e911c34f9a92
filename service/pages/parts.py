"""What all pages use: a route class that shows errors as pages, dependencies, and the parameters of pictures."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from service.pages.facts import FactsReader
from service.pages.templating import page
from service.web.caching import conditional
from storage.base import NotFound
from tuner.core.errors import BadInput
from tuner.report.charts.render import Renderer
from tuner.report.charts.theme import Look, Scheme, Size

_LARGEST_ID = 2**31 - 1  # PostgreSQL's integer
RecordId = Annotated[int, Path(ge=1, le=_LARGEST_ID)]
QueryId = Annotated[int, Query(ge=1, le=_LARGEST_ID)]
PageNumber = Annotated[int, Query(ge=1, le=100_000)]


def chosen[T: str](known: Iterable[T], name: str, value: str) -> T | None:
    """The one of `known` that a filter's value names; None where it is empty. Raises BadInput: without it, what was not asked for would
    show."""
    if not value:
        return None
    found = next((item for item in known if item == value), None)
    if found is None:
        raise BadInput("is unknown", setting=name, value=repr(value[:60]), fix=f"choose {', '.join(known)}, or leave it out")
    return found


class PageRoute(APIRoute):
    """Errors that a reader can do something about become a page, not a problem document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except NotFound as error:
                return page(request, "error.html", 404, title="Not found", message=str(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"][1:])
                return page(request, "error.html", 422, title="That address cannot be read", message=f"{where}: {first['msg']}")
            except BadInput as error:
                return page(request, "error.html", 422, title="That cannot be shown", message=str(error))

        return handle


async def look(scheme: Scheme = Scheme.LIGHT, size: Size = Size.WIDE) -> Look:
    return Look(scheme, size)


async def facts_reader(request: Request) -> FactsReader:
    reader: FactsReader = request.app.state.facts
    return reader


async def renderer(request: Request) -> Renderer:
    found: Renderer = request.app.state.renderer
    return found


LookDep = Annotated[Look, Depends(look)]
FactsDep = Annotated[FactsReader, Depends(facts_reader)]
RendererDep = Annotated[Renderer, Depends(renderer)]


def svg_response(request: Request, svg: str) -> Response:
    """The picture, or 304 where the reader has it."""
    return conditional(request, Response(svg, media_type="image/svg+xml"))
