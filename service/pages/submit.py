"""Submitting a study from a form: its file, then the plan, then the queue."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.answers.deps import SettingsDep, StorageDep
from service.answers.submitting import YAML, planned, read_body
from service.pages.forms import Refused, posted, with_form
from service.pages.parts import PageRoute
from service.pages.submit_view import FIELDS, plan_view, study_file
from service.pages.templating import page
from service.web.settings import ServiceSettings
from storage.base import Conflict, Storage
from tuner.core.errors import BadInput
from tuner.fleet.dry_run import DryRun

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_FIELDS = ("file", "accelerator")


@router.get("/submit")
def form(request: Request) -> Response:
    """The parameters of the address fill the file in: pages link here with what they know."""
    built = {name: request.query_params.get(name, "") for name in FIELDS}
    return _shown(request, {"file": study_file(built)}, built)


@router.post("/submit")
async def submit(request: Request, storage: StorageDep, settings: SettingsDep) -> Response:
    given = await posted(request, settings)
    try:
        found = await run_in_threadpool(_planned, storage, settings, given)
    except Refused as refused:
        return _shown(request, given, refused=refused)
    return _shown(request, given, found=found)


def _planned(storage: Storage, settings: ServiceSettings, given: Mapping[str, str]) -> DryRun:
    """Raises Refused."""
    try:
        return planned(storage, settings, read_body(given.get("file", "").encode(), YAML), given.get("accelerator", "").strip() or None)
    except BadInput as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "file", str(error)) from error
    except Conflict as error:
        raise Refused(HTTPStatus.CONFLICT, "file", str(error)) from error


def _shown(
    request: Request,
    given: Mapping[str, str],
    built: Mapping[str, str] | None = None,
    *,
    found: DryRun | None = None,
    refused: Refused | None = None,
) -> Response:
    answer = page(
        request,
        "submit.html",
        HTTPStatus.OK if refused is None else refused.status,
        given={name: given.get(name, "") for name in _FIELDS},
        built=built or {},
        fields=FIELDS,
        errors={} if refused is None else {refused.field: str(refused)},
        **_plan(found),
    )
    return with_form(answer)


def _plan(found: DryRun | None) -> dict[str, Any]:
    if found is None:
        return {"plan": None, "reason": None, "warnings": (), "name": ""}
    plan = None if found.plan is None else plan_view(found.plan.to_json())
    return {"plan": plan, "reason": found.reason, "warnings": found.skipped, "name": found.config.study}
