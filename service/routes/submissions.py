"""The queue: what was submitted, what became of it, and taking it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, Security
from pydantic import Field

from service.answers.deps import StorageDep
from service.answers.queueing import Sender, cancel, prioritise
from service.answers.state import state_of
from service.schemas.common import MOST_ID, Id, Text, problems
from service.schemas.history import Mark
from service.schemas.queue import NewPriority, SubmissionDetail, SubmissionPage, change_entry, submission_detail, submission_entry
from service.web.auth import SCOPE_SUBMIT, bearer_scheme, scope_needed
from service.web.caching import EtagRoute
from service.web.event_stream import EVENT_SCHEMA, MEDIA_TYPE, Event, Look
from service.web.paging import PageQuery, page_of
from service.web.strict import StrictRoute
from storage.base import NotFound, Storage
from storage.queue_records import ENDED, Submission, SubmissionState
from storage.records import Json
from tuner.fleet.parts import parts_of

router = APIRouter(prefix="/v1/submissions", tags=["submissions"], route_class=EtagRoute)
streams = APIRouter(prefix="/v1/submissions", tags=["submissions"], route_class=StrictRoute)
changes = APIRouter(prefix="/v1/submissions", tags=["submissions"], route_class=StrictRoute)
_DIGITS = len(str(MOST_ID))
_EXAMPLE = (
    'retry: 3000\n\nid: 31\nevent: queued\ndata: {"submission_id": 12, "what": "QUEUED", "by": "ci", "at": 1764000000.0, "reason": ""}\n\n'
    'event: progress\ndata: {"study": "qwen3-chat", "trials": {"WAITING": 4, "RUNNING": 1, "COMPLETE": 7}, "engine_starts": 2}\n\n'
)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": EVENT_SCHEMA, "example": _EXAMPLE}}, "description": "One event for each change"},
    204: {"description": "The client has the last one"},
}


_CHANGES: dict[str, Any] = {
    "response_model": SubmissionDetail,
    "responses": problems(404, 408, 409, 413, 415),
    "dependencies": [Security(bearer_scheme), Security(scope_needed(SCOPE_SUBMIT))],
}


class SubmissionQuery(PageQuery):
    state: SubmissionState | None = None
    study: Annotated[Text | None, Field(description="Only of the study of this name.")] = None
    team: Annotated[Text | None, Field(description="Only what this token submitted.")] = None


@router.get("", summary="Submissions, newest first", response_model=SubmissionPage, responses=problems(304))
def submissions(query: Annotated[SubmissionQuery, Query()], storage: StorageDep, request: Request, response: Response) -> Json:
    states = None if query.state is None else frozenset({query.state})
    found = storage.list_submissions(states=states, study=query.study, team=query.team, limit=query.limit + 1, offset=query.offset)
    shown, page = page_of(list(found), query, request, response)
    return {"items": [submission_entry(item) for item in shown], "page": page}


@router.get("/{submission_id}", summary="One submission", response_model=SubmissionDetail, responses=problems(304, 404))
def submission(submission_id: Id, storage: StorageDep) -> Json:
    return _detail(storage, storage.get_submission(submission_id))


@streams.get("/{submission_id}/events", summary="Follow a submission", response_class=Response, responses={**_STREAM, **problems(404)})
async def events(submission_id: Id, storage: StorageDep, request: Request) -> Response:
    """Server-sent events: each change of its state, called by it (`queued`, `running`, `complete`, ...), and meanwhile `progress` of the
    study; a comment every 15 s; the end with the study. `Last-Event-ID` gives what has happened since."""
    return await state_of(request).streams.follow(request, submission_reader(storage, submission_id))


@changes.post("/{submission_id}/cancel", summary="Take a study out of the queue, or stop it", **_CHANGES)
def cancel_it(submission_id: Id, storage: StorageDep, request: Request, body: Mark | None = None) -> Json:
    """What it has measured stays. With the scope `manage` also what others submitted. 409 where it has ended."""
    state = request.scope["state"]
    sender = Sender.of(state["token_name"], state["scopes"])
    found = cancel(storage, submission_id, sender, body.reason if body is not None else "")
    return _detail(storage, found)


@changes.post("/{submission_id}/priority", summary="Let a waiting study go before others, or after them", **_CHANGES)
def priority(submission_id: Id, storage: StorageDep, request: Request, body: NewPriority) -> Json:
    """Above 0 with the scope `manage`. 409 where it does not wait any more."""
    state = request.scope["state"]
    sender = Sender.of(state["token_name"], state["scopes"])
    found = prioritise(storage, submission_id, body.priority, sender, body.reason)
    return _detail(storage, found)


def _detail(storage: Storage, found: Submission) -> Json:
    return submission_detail(found, list(storage.list_events(submission_id=found.id)), parts_of(storage, found))


def submission_reader(storage: Storage, submission_id: int) -> Callable[[str], Look]:
    """Its changes by their numbers, and its study's progress where it is another than at the last look."""
    told = ""

    def read(known: str) -> Look:
        nonlocal told
        found = storage.get_submission(submission_id)
        after = int(known) if known.isascii() and known.isdigit() and len(known) < _DIGITS else 0
        new = [
            Event(change.what.value.lower(), {"submission_id": submission_id, **change_entry(change)}, str(change.id))
            for change in storage.list_events(submission_id=submission_id, after=after)
        ]
        progress = None if found.state in ENDED else study_progress(storage, found.study)
        text = json.dumps(progress)
        if progress is not None and text != told:
            told = text
            new.append(Event("progress", progress))
        return Look(tuple(new), final=found.state in ENDED)

    return read


def study_progress(storage: Storage, name: str) -> Json | None:
    """None before a worker has begun it."""
    try:
        study = storage.get_study(name)
    except NotFound:
        return None
    trials = {state.value: count for state, count in storage.count_trials(study.id).items()}
    return {"study": study.name, "trials": trials, "engine_starts": study.engine_starts}
