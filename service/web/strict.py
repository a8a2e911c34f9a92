"""Routes that refuse a parameter they do not know: ignoring a misspelt one would answer another question."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response

from service.web.errors import Problem

type Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_LONGEST = 100


class StrictRoute(APIRoute):
    """For routes that list their query parameters one by one. Where they are read into a model, the model refuses unknown ones
    (service.web.paging.Query)."""

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()
        fields = self.dependant.query_params
        if any(isinstance(kind := field.field_info.annotation, type) and issubclass(kind, BaseModel) for field in fields):
            return inner
        known = sorted(field.alias for field in fields)

        async def handler(request: Request) -> Response:
            if request.scope["query_string"]:
                _refuse_unknown(request, known)
            return await inner(request)

        return handler


def _refuse_unknown(request: Request, known: list[str]) -> None:
    unknown = [name[:_LONGEST] for name in request.query_params if name not in known]
    if unknown:
        message = f"there is no such parameter here; known: {', '.join(known) or 'none'}"
        errors = [{"where": f"query.{name}", "message": message} for name in unknown]
        raise Problem(422, f"query.{unknown[0]}: {message}", errors=errors)
