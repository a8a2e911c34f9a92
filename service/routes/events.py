"""Following a study as server-sent events, until its search has ended."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.answers.deps import StorageDep
from service.answers.state import state_of
from service.schemas.common import StudyName, problems
from service.web.event_stream import EVENT_SCHEMA, MEDIA_TYPE, Event, Look
from service.web.strict import StrictRoute
from storage.base import Storage
from storage.records import StudyState
from tuner.search.life import life_of

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=StrictRoute)
STALE = "stale"  # its state is RUNNING, and nobody runs it
_EXAMPLE = (
    'retry: 3000\n\nid: 5c1b6a0e7f3d9a42\nevent: running\ndata: {"study": "qwen3-chat", "state": "RUNNING", "trials": {"WAITING": 4, '
    '"RUNNING": 1, "COMPLETE": 7, "PRUNED": 0, "FAIL": 0}, "engine_starts": 2, "no_sign_of_life": null}\n\n: alive\n\n'
)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": EVENT_SCHEMA, "example": _EXAMPLE}}, "description": "One event for each change"},
    204: {"description": "The client has the last one"},
}


@router.get("/{name}/events", summary="Follow a study", response_class=Response, responses={**_STREAM, **problems(404)})
async def events(name: StudyName, storage: StorageDep, request: Request) -> Response:
    """Server-sent events: the newest state whenever it is another one, a comment every 15 s, the end with the search. Whoever comes back
    with `Last-Event-ID` gets what has changed since. The events are called `running`, `stale`, `complete`, `interrupted` and `fail`."""

    def read(known: str) -> Look:
        return study_look(storage, name, known)

    return await state_of(request).streams.follow(request, read)


def study_look(storage: Storage, name: str, known: str) -> Look:
    """The newest state, unless the client has it; states in between may be left out. Raises NotFound. Without the time of the last sign of
    life, which would be a change every few seconds."""
    study = storage.get_study(name)
    life = life_of(storage, study)
    note = life.note if life is not None and life.note else None
    data = {
        "study": study.name,
        "state": study.state.value,
        "trials": {state.value: count for state, count in storage.count_trials(study.id).items()},
        "engine_starts": study.engine_starts,
        "no_sign_of_life": note,
    }
    event = Event.of_state(STALE if note else study.state.value.lower(), data)
    return Look(() if event.id == known else (event,), final=study.state is not StudyState.RUNNING)
