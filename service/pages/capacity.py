"""The highest rates within SLOs that were found: a list, and one with its goodput curve, chips and cost."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator, Field
from starlette.responses import Response

from service.answers.deps import StorageDep
from service.pages.charts.goodput import goodput
from service.pages.parts import LookDep, PageNumber, PageRoute, RecordId, RendererDep, svg_response
from service.pages.templating import page
from service.schemas.capacity import LoadUnit
from storage.base import NotFound
from tuner.capacity.stored import answer_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ON_A_PAGE = 50
_MOST = 1e9
_Above0 = Annotated[float, Field(gt=0, le=_MOST, allow_inf_nan=False)]
Amount = Annotated[_Above0 | None, BeforeValidator(lambda text: text or None), Query()]  # a form sends its empty fields


@router.get("/capacity")
def capacities(request: Request, storage: StorageDep, number: PageNumber = 1, by: LoadUnit | None = None) -> Response:
    """Newest first."""
    found = list(storage.list_capacity_runs(by=by, limit=_ON_A_PAGE + 1, offset=(number - 1) * _ON_A_PAGE))
    answers = [answer_of(storage, run) for run in found[:_ON_A_PAGE]]
    return page(request, "capacities.html", answers=answers, by=by, number=number, more=len(found) > _ON_A_PAGE)


@router.get("/capacity/{capacity_id}")
def capacity(request: Request, storage: StorageDep, capacity_id: RecordId, load: Amount = None, price: Amount = None) -> Response:
    answer = answer_of(storage, storage.get_capacity_run(capacity_id))
    return page(
        request,
        "capacity.html",
        answer=answer,
        points=answer.curve(),
        load=load,
        price=price,
        sizing=None if load is None else answer.sizing(load),
        cost=None if price is None else answer.cost(price),
    )


@router.get("/capacity/{capacity_id}/curve.svg")
def curve(request: Request, storage: StorageDep, renderer: RendererDep, look: LookDep, capacity_id: RecordId) -> Response:
    """Raises NotFound where no window has a goodput."""
    answer = answer_of(storage, storage.get_capacity_run(capacity_id))
    points = answer.curve()
    if not any(point.goodput is not None for point in points):
        raise NotFound(f"capacity {capacity_id} has nothing to draw")
    drawn = goodput(points, answer.run, look, answer.kind)
    title = f"Goodput by {answer.kind.noun}, {answer.run.model}"
    return svg_response(request, renderer.picture(drawn, title, "The table below the picture holds its numbers."))
