"""Is the process alive, can it answer: for a load balancer, without a token."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from service.deps import StorageDep
from service.errors import Problem

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/healthz", summary="The process runs")
async def healthz() -> Health:
    return Health()


@router.get("/readyz", summary="The database answers")
def readyz(storage: StorageDep) -> Health:
    if not storage.check()["ok"]:
        raise Problem(503, "the database has another schema; run `tuner db upgrade`")
    return Health()
