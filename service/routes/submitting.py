"""Submitting a study: what is asked for is checked and planned first, and nothing but a study can be asked for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Security
from starlette.concurrency import run_in_threadpool

from service.answers.deps import SettingsDep, StorageDep
from service.answers.submitting import JSON, YAML, planned, read_body
from service.schemas.common import Text, problems
from service.schemas.submissions import DryRunAnswer, dry_run_answer, study_body
from service.web.auth import SCOPE_SUBMIT, bearer_scheme, scope_needed
from service.web.errors import Problem
from service.web.strict import StrictRoute
from storage.records import Json

router = APIRouter(prefix="/v1/studies", tags=["submissions"], route_class=StrictRoute)


@router.post(
    "",
    summary="What a submitted study would do",
    response_model=DryRunAnswer,
    responses=problems(408, 409, 413, 415),
    openapi_extra=study_body(),
    dependencies=[Security(bearer_scheme), Security(scope_needed(SCOPE_SUBMIT))],
)
async def submit(
    request: Request,
    storage: StorageDep,
    settings: SettingsDep,
    dry_run: Annotated[bool, Query(description="Only say what it would do.")] = False,
    accelerator: Annotated[Text | None, Query(description="What it is to run on, e.g. TPU v6e-4.")] = None,
) -> Json:
    """The body is a study file as JSON, or as it stands with `Content-Type: application/yaml`."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in (JSON, YAML):
        raise Problem(415, f"the body has to be a study file; send Content-Type: {JSON} or {YAML}")
    if not dry_run:
        raise Problem(422, "query.dry_run: plans are made here, and nothing is queued yet; send dry_run=true")
    given = read_body(await request.body(), media)
    found = await run_in_threadpool(planned, storage, settings, given, accelerator)
    return dry_run_answer(found)
