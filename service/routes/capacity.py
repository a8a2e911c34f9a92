"""The highest rate within SLOs, as `tuner capacity` found it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.answers.deps import StorageDep
from service.schemas.capacity import CapacityEntry, CapacityPage, CapacityQuery
from service.schemas.common import Id, problems, with_moments
from service.web.caching import EtagRoute
from service.web.paging import page_of
from storage.base import Storage
from storage.records import CapacityRun, Json
from tuner.capacity.stored import answer_json, answer_of

router = APIRouter(prefix="/v1/capacity", tags=["capacity"], route_class=EtagRoute)


@router.get("", summary="The highest rates within SLOs that were found, newest first", response_model=CapacityPage, responses=problems(304))
def capacities(query: Annotated[CapacityQuery, Query()], storage: StorageDep, request: Request, response: Response) -> Json:
    found = storage.list_capacity_runs(
        model=query.model,
        accelerator=query.accelerator,
        workload=query.workload,
        by=query.by,
        limit=query.limit + 1,
        offset=query.offset,
    )
    shown, page = page_of(list(found), query, request, response)
    return {"items": [_entry(storage, run, query.load, query.chip_hour_price) for run in shown], "page": page}


@router.get("/{capacity_id}", summary="One of them", response_model=CapacityEntry, responses=problems(304, 404))
def capacity(capacity_id: Id, storage: StorageDep) -> Json:
    return _entry(storage, storage.get_capacity_run(capacity_id), None, None)


def _entry(storage: Storage, run: CapacityRun, load: float | None, price: float | None) -> Json:
    return with_moments(answer_json(answer_of(storage, run), load=load, price=price), ["created_at"])
