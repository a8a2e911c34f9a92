"""Hosts in quarantine: which, since when, by whom and why; putting one there, and letting it claim again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response, Security

from service.answers.deps import StorageDep
from service.schemas.common import Text, problems
from service.schemas.history import Mark
from service.schemas.hosts import HOST_PATTERN, LONGEST_HOST, QuarantineEntry, QuarantinePage, quarantine_entry
from service.web.auth import SCOPE_MANAGE, bearer_scheme, scope_needed
from service.web.caching import EtagRoute
from service.web.paging import PageQuery, page_of
from service.web.strict import StrictRoute
from storage.records import Json
from tuner.fleet.quarantine import quarantine_by_hand

router = APIRouter(prefix="/v1/hosts", tags=["hosts"], route_class=EtagRoute)
changes = APIRouter(prefix="/v1/hosts", tags=["hosts"], route_class=StrictRoute)
Host = Annotated[str, Path(pattern=HOST_PATTERN, max_length=LONGEST_HOST, examples=["tpu-7"])]
_CHANGES: dict[str, Any] = {
    "response_model": QuarantineEntry,
    "dependencies": [Security(bearer_scheme), Security(scope_needed(SCOPE_MANAGE))],
}


class QuarantineQuery(PageQuery):
    host: Text | None = None
    released: bool = False


@router.get("", summary="Hosts in quarantine, newest first", response_model=QuarantinePage, responses=problems(304))
def hosts(query: Annotated[QuarantineQuery, Query()], storage: StorageDep, request: Request, response: Response) -> Json:
    """With `released=true` also what is over: the trail of who put which host there, and who let it go."""
    found = storage.list_quarantines(host=query.host, released=query.released, limit=query.limit + 1, offset=query.offset)
    shown, page = page_of(list(found), query, request, response)
    return {"items": [quarantine_entry(item) for item in shown], "page": page}


@changes.post("/{host}/quarantine", summary="Put a host into quarantine", responses=problems(408, 409, 413, 415), **_CHANGES)
def quarantine(host: Host, storage: StorageDep, request: Request, body: Mark | None = None) -> Json:
    """Its workers finish their windows, give their studies back and claim nothing more. 409 where it is there already."""
    reason = body.reason if body is not None else ""
    return quarantine_entry(quarantine_by_hand(storage, host, by=request.scope["state"]["token_name"], reason=reason))


@changes.post("/{host}/release", summary="Let a host claim studies again", responses=problems(404, 408, 413, 415), **_CHANGES)
def release(host: Host, storage: StorageDep, request: Request, body: Mark | None = None) -> Json:
    """What it measured before counts no more when it is compared with its peers."""
    reason = body.reason if body is not None else ""
    return quarantine_entry(storage.release_host(host, by=request.scope["state"]["token_name"], reason=reason))
