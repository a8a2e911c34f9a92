"""Hosts in quarantine: which were and are, putting one there, and letting it claim again."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from service.answers.deps import SettingsDep, StorageDep
from service.answers.queue_metrics import WORKER_SEEN_S
from service.pages.forms import Refused, posted, signed, with_form
from service.pages.parts import PageNumber, PageRoute
from service.pages.templating import page
from service.schemas.hosts import LONGEST_HOST, is_host
from service.web.auth import SCOPE_MANAGE
from storage.base import Conflict, NotFound, Storage
from storage.records import Actor
from tuner.fleet.quarantine import quarantine_by_hand

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ON_A_PAGE = 50


@router.get("/hosts")
def hosts(request: Request, storage: StorageDep, host: str = "", number: PageNumber = 1) -> Response:
    """`host`: what the form begins with."""
    return _shown(request, storage, {"host": host.strip()[:LONGEST_HOST]}, number)


@router.post("/hosts")
async def change(request: Request, storage: StorageDep, settings: SettingsDep) -> Response:
    form = await posted(request, settings)
    try:
        actor = await signed(request, form, SCOPE_MANAGE)
        await run_in_threadpool(_change, storage, form, actor)
    except Refused as refused:
        return await run_in_threadpool(_shown, request, storage, form, 1, refused)
    return RedirectResponse("/hosts", HTTPStatus.SEE_OTHER)


def _change(storage: Storage, form: Mapping[str, str], actor: Actor) -> None:
    """Raises Refused."""
    host, action = form.get("host", "").strip(), form.get("action", "")
    if action == "quarantine" and not is_host(host):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "host", "is no name of a host: letters, digits, dots, hyphens, underscores")
    try:
        if action == "quarantine":
            quarantine_by_hand(storage, host, by=actor.name, reason=actor.reason)
        elif action == "release":
            storage.release_host(host, by=actor.name, reason=actor.reason)
        else:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "", "press Put into quarantine or Release")
    except Conflict as error:
        raise Refused(HTTPStatus.CONFLICT, "host", str(error)) from error
    except NotFound as error:
        raise Refused(HTTPStatus.NOT_FOUND, "host", "is not in quarantine") from error


def _shown(request: Request, storage: Storage, form: Mapping[str, str], number: int, refused: Refused | None = None) -> Response:
    trail = storage.list_quarantines(released=True, limit=_ON_A_PAGE + 1, offset=(number - 1) * _ON_A_PAGE)
    workers = storage.list_workers(seen_within_s=WORKER_SEEN_S)
    answer = page(
        request,
        "hosts.html",
        HTTPStatus.OK if refused is None else refused.status,
        held=storage.list_quarantines(),
        trail=trail[:_ON_A_PAGE],
        names=sorted({worker.host for worker in workers}),
        given={name: form.get(name, "") for name in ("host", "reason")},
        errors={} if refused is None else {refused.field: str(refused)},
        most_host=LONGEST_HOST,
        number=number,
        more=len(trail) > _ON_A_PAGE,
    )
    return with_form(answer)
