"""Submitting a study from a form: its file, then the plan, then the queue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from service.answers.deps import SettingsDep, StorageDep
from service.answers.queueing import Sender, Wish, enqueue
from service.answers.submitting import YAML, planned, read_body, requirements_of
from service.pages.forms import Refused, posted, signed_with_scopes, with_form
from service.pages.parts import PageRoute
from service.pages.submit_view import FIELDS, plan_view, study_file
from service.pages.templating import page
from service.schemas.queue import MOST_PRIORITY, MOST_WORKERS
from service.web.auth import SCOPE_SUBMIT
from service.web.errors import Problem
from service.web.settings import ServiceSettings
from storage.base import Conflict, Storage
from storage.queue_records import Submission
from tuner.core.errors import BadInput
from tuner.fleet.dry_run import DryRun

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_FIELDS = ("file", "accelerator", "priority", "workers", "reason")


@router.get("/submit")
def form(request: Request) -> Response:
    """The parameters of the address fill the file in: pages link here with what they know."""
    built = {name: request.query_params.get(name, "") for name in FIELDS}
    return _shown(request, {"file": study_file(built)}, built)


@router.post("/submit")
async def submit(request: Request, storage: StorageDep, settings: SettingsDep) -> Response:
    """The button "plan" shows what it would do; "submit" takes a token and puts it into the queue."""
    given = await posted(request, settings)
    found = None
    try:
        found = await run_in_threadpool(_planned, storage, settings, given)
        if given.get("action") != "submit":
            return _shown(request, given, found=found)
        actor, scopes = await signed_with_scopes(request, given, SCOPE_SUBMIT)
        wish = Wish(requirements_of(_accelerator(given)), _priority(given), workers=_workers(given))
        queued = await run_in_threadpool(_enqueue, storage, settings, found, wish, Sender.of(actor.name, scopes))
    except Refused as refused:
        return _shown(request, given, found=found, refused=refused)
    return RedirectResponse(f"/queue/{queued.id}", HTTPStatus.SEE_OTHER)


def _accelerator(given: Mapping[str, str]) -> str | None:
    return given.get("accelerator", "").strip() or None


def _priority(given: Mapping[str, str]) -> int:
    """Raises Refused."""
    text = given.get("priority", "").strip() or "0"
    if not re.fullmatch(r"-?[0-9]{1,3}", text, re.ASCII) or abs(int(text)) > MOST_PRIORITY:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "priority", f"a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}")
    return int(text)


def _workers(given: Mapping[str, str]) -> int:
    """Raises Refused."""
    text = given.get("workers", "").strip() or "1"
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= MOST_WORKERS:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "workers", f"a whole number from 1 to {MOST_WORKERS}")
    return int(text)


def _enqueue(storage: Storage, settings: ServiceSettings, found: DryRun, wish: Wish, sender: Sender) -> Submission:
    """Raises Refused."""
    try:
        return enqueue(storage, settings, found, wish, sender)
    except Problem as problem:
        raise Refused(problem.status, "", problem.detail) from problem
    except Conflict as error:
        raise Refused(HTTPStatus.CONFLICT, "file", str(error)) from error


def _planned(storage: Storage, settings: ServiceSettings, given: Mapping[str, str]) -> DryRun:
    """Raises Refused."""
    try:
        return planned(storage, settings, read_body(given.get("file", "").encode(), YAML), _accelerator(given))
    except BadInput as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "file", str(error)) from error
    except Conflict as error:
        raise Refused(HTTPStatus.CONFLICT, "file", str(error)) from error
    except Problem as problem:
        raise Refused(problem.status, "", problem.detail) from problem


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
