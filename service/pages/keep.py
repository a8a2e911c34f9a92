"""Renaming, tagging, archiving and deleting a study, and the audit trail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from service.answers.deps import SettingsDep, StorageDep
from service.answers.state import state_of
from service.pages.forms import Refused, posted, signed, with_form
from service.pages.parts import PageNumber, PageRoute, chosen
from service.pages.templating import page
from service.web.auth import SCOPE_MANAGE
from service.web.settings import ServiceSettings
from storage.base import Conflict, Storage
from storage.records import Actor
from tuner.core.errors import BadInput
from tuner.search import keeping
from tuner.search.life import life_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ON_A_PAGE = 50
_FIELD = {"rename": "name", "tags": "tags", "delete": "typed"}  # action -> where what is wrong with it is said


class _Trail(StrEnum):
    """What readers may see the trail of; that of tokens is on the machine (`tuner token history`)."""

    STUDY = "study"
    RECOMMENDATION = "recommendation"


@router.get("/studies/{name}/keep")
def keep(request: Request, storage: StorageDep, name: str) -> Response:
    return _shown(request, storage, name, {})


@router.post("/studies/{name}/keep")
async def change(request: Request, storage: StorageDep, settings: SettingsDep, name: str) -> Response:
    """Does what the pressed button says, then shows the page of what became of the study."""
    form = await posted(request, settings)
    try:
        actor = await signed(request, form, SCOPE_MANAGE)
        address = await run_in_threadpool(_apply, storage, settings, name, form, actor)
    except Refused as refused:
        return await run_in_threadpool(_shown, request, storage, name, form, refused)
    state_of(request).version.forget()
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


@router.get("/audit")
def audit(request: Request, storage: StorageDep, kind: str = "", number: PageNumber = 1) -> Response:
    """The whole trail of one kind, of what is gone as well."""
    trail = chosen(_Trail, "kind", kind) or _Trail.STUDY
    found = storage.list_audit(kind=trail, limit=_ON_A_PAGE + 1, offset=(number - 1) * _ON_A_PAGE)
    return page(
        request, "audit.html", entries=found[:_ON_A_PAGE], kinds=list(_Trail), kind=trail, number=number, more=len(found) > _ON_A_PAGE
    )


def _apply(storage: Storage, settings: ServiceSettings, name: str, form: Mapping[str, str], actor: Actor) -> str:
    """The address to go on at. Raises Refused, NotFound."""
    action = form.get("action", "")
    try:
        match action:
            case "rename":
                name = keeping.rename(storage, name, form.get("name", "").strip(), by=actor).name
            case "tags":
                keeping.tag(
                    storage, name, re.split(r"[\s,]+", form.get("tags", "").strip()) if form.get("tags", "").strip() else [], by=actor
                )
            case "archive" | "restore":
                keeping.archive(storage, name, archived=action == "archive", by=actor)
            case "delete":
                keeping.delete(storage, settings.storage_url, name, typed=form.get("typed", "").strip(), by=actor)
                return "/audit"
            case _:
                raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "", "press one of the buttons")
    except BadInput as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, _FIELD.get(action, ""), str(error)) from error
    except Conflict as error:
        raise Refused(HTTPStatus.CONFLICT, _FIELD.get(action, ""), str(error)) from error
    return f"/studies/{quote(name)}/keep"


def _shown(request: Request, storage: Storage, name: str, form: Mapping[str, str], refused: Refused | None = None) -> Response:
    study = storage.get_study(name)
    life = life_of(storage, study)
    given: dict[str, Any] = {"name": study.name, "tags": " ".join(study.tags or []), "typed": "", "reason": ""}
    answer = page(
        request,
        "keep.html",
        HTTPStatus.OK if refused is None else refused.status,
        study=study,
        counts=storage.count_trials(study.id),
        life=life,
        running=life is not None and not life.note,
        trail=storage.list_audit(kind="study", subject=str(study.id)),
        given={**given, **{field: value for field, value in form.items() if field in given}},
        errors={} if refused is None else {refused.field: str(refused)},
    )
    return with_form(answer)
