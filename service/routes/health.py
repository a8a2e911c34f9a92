"""Is the process alive, can it answer, what has it done: for a load balancer and for Prometheus."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from service.answers.deps import StorageDep
from service.answers.state import state_of
from service.schemas.common import problems
from service.web.errors import Problem
from service.web.metrics import CONTENT_TYPE

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="The process runs", responses=problems())
async def healthz() -> Health:
    return Health()


@router.get("/readyz", summary="The database answers", responses=problems())
async def readyz(storage: StorageDep, request: Request) -> Health:
    if not (await run_in_threadpool(storage.check))["ok"]:
        raise Problem(503, "the database has another schema; run `tuner db upgrade`, or a tuner of its version")
    state = state_of(request)
    if await state.damage.get() is not None:
        state.damage.forget()  # whoever mends it need not wait
        raise Problem(503, "the database file is damaged; restore it from a backup")
    return Health()


_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/plain": {"schema": {"type": "string"}, "example": "tuner_http_requests_in_flight 1.0\n"}},
        "description": "Prometheus' text format",
    }
}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses={**_TEXT, **problems()})
def metrics(request: Request) -> Response:
    return Response(state_of(request).metrics.exposition(), media_type=CONTENT_TYPE)
