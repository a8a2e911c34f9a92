"""The queue of studies, one submission, and taking it back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from service.answers.deps import SettingsDep, StorageDep
from service.answers.queue_metrics import WORKER_SEEN_S
from service.answers.queueing import OPEN, Sender, cancel
from service.pages.forms import Refused, posted, signed_with_scopes, with_form
from service.pages.parts import PageNumber, PageRoute, RecordId, chosen
from service.pages.queue_view import queue_rows, row_of
from service.pages.templating import page
from service.web.auth import SCOPE_SUBMIT
from service.web.errors import Problem
from storage.base import Conflict, Storage
from storage.queue_records import SubmissionState
from tuner.fleet.parts import parts_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ON_A_PAGE = 50


@router.get("/queue")
def queue(request: Request, storage: StorageDep, state: str = "", q: str = "", number: PageNumber = 1) -> Response:
    """Those that wait or run, unless `state` names another; `q`: of the study of exactly this name, or of this token."""
    wanted = chosen([*SubmissionState, "ALL"], "state", state)
    states = OPEN if wanted is None else None if wanted == "ALL" else frozenset({SubmissionState(wanted)})
    text = q.strip() or None
    offset = (number - 1) * _ON_A_PAGE
    found = storage.list_submissions(states=states, study=text, limit=_ON_A_PAGE + 1, offset=offset)
    if text is not None and not found:
        found = storage.list_submissions(states=states, team=text, limit=_ON_A_PAGE + 1, offset=offset)
    return page(
        request,
        "queue.html",
        rows=queue_rows(storage, found[:_ON_A_PAGE]),
        counts=storage.count_submissions(),
        workers=storage.list_workers(seen_within_s=WORKER_SEEN_S),
        quarantined=storage.list_quarantines(),
        states=list(SubmissionState),
        state=wanted or "",
        q=q,
        number=number,
        more=len(found) > _ON_A_PAGE,
        address=f"/queue?{urlencode({'state': wanted or '', 'q': q})}",
    )


@router.get("/queue/{submission_id}")
def submission(request: Request, storage: StorageDep, submission_id: RecordId) -> Response:
    return _shown(request, storage, submission_id, {})


@router.post("/queue/{submission_id}")
async def stop(request: Request, storage: StorageDep, settings: SettingsDep, submission_id: RecordId) -> Response:
    form = await posted(request, settings)
    try:
        actor, scopes = await signed_with_scopes(request, form, SCOPE_SUBMIT)
        await run_in_threadpool(_cancel, storage, submission_id, Sender.of(actor.name, scopes), actor.reason)
    except Refused as refused:
        return await run_in_threadpool(_shown, request, storage, submission_id, form, refused)
    return RedirectResponse(f"/queue/{submission_id}", HTTPStatus.SEE_OTHER)


def _cancel(storage: Storage, submission_id: int, sender: Sender, reason: str) -> None:
    """Raises Refused, NotFound."""
    try:
        cancel(storage, submission_id, sender, reason)
    except Problem as problem:
        raise Refused(problem.status, "token", problem.detail) from problem
    except Conflict as error:
        raise Refused(HTTPStatus.CONFLICT, "", str(error)) from error


def _shown(request: Request, storage: Storage, submission_id: int, form: Mapping[str, str], refused: Refused | None = None) -> Response:
    found = storage.get_submission(submission_id)
    answer = page(
        request,
        "submission.html",
        HTTPStatus.OK if refused is None else refused.status,
        row=row_of(storage, found),
        item=found,
        settings=json.dumps(found.config, indent=2),
        open=found.state in OPEN,
        parts=parts_of(storage, found),
        trail=storage.list_events(submission_id=submission_id),
        given={"reason": form.get("reason", "")},
        errors={} if refused is None else {refused.field: str(refused)},
    )
    return with_form(answer)
