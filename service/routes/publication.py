"""Publishing and withdrawing recommendations, each with who, when and why."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Security

from service.answers.deps import StorageDep
from service.answers.find import linked
from service.answers.state import actor_of, state_of
from service.schemas.common import Id, problems
from service.schemas.history import History, Mark, history_entries
from service.schemas.recommendations import Answer
from service.web.auth import SCOPE_PUBLISH, bearer_scheme, scope_needed
from service.web.caching import EtagRoute
from service.web.strict import StrictRoute
from storage.base import Storage
from storage.records import Json
from tuner.verdict.answer import answer_of

router = APIRouter(prefix="/v1/recommendations", tags=["publication"], route_class=StrictRoute)
trail = APIRouter(prefix="/v1/recommendations", tags=["publication"], route_class=EtagRoute)
_WRITES = problems(404, 408, 413, 415)


_MARKING: dict[str, Any] = {
    "response_model": Answer,
    "response_model_exclude_unset": True,
    "responses": _WRITES,
    "dependencies": [Security(bearer_scheme), Security(scope_needed(SCOPE_PUBLISH))],
}


@router.post(
    "/{recommendation_id}/publish",
    summary="Put a recommendation in force",
    **_MARKING,
)
def publish(recommendation_id: Id, storage: StorageDep, request: Request, mark: Mark | None = None) -> Answer:
    """Published ones are answered before others. Publishing lifts a withdrawal."""
    return _mark(storage, request, recommendation_id, mark, published=True)


@router.post(
    "/{recommendation_id}/withdraw",
    summary="Take a recommendation out of force",
    **_MARKING,
)
def withdraw(recommendation_id: Id, storage: StorageDep, request: Request, mark: Mark | None = None) -> Answer:
    """It is answered no more, but stays readable under its own address."""
    return _mark(storage, request, recommendation_id, mark, published=False)


@trail.get("/{recommendation_id}/history", summary="Who published or withdrew it", response_model=History, responses=problems(304, 404))
def history(recommendation_id: Id, storage: StorageDep) -> Json:
    """While it exists; of deleted ones `/audit?kind=recommendation` has the entries."""
    storage.get_recommendation(recommendation_id)
    found = storage.list_audit(kind="recommendation", subject=str(recommendation_id))
    return {"recommendation_id": recommendation_id, "items": history_entries(found)}


def _mark(storage: Storage, request: Request, recommendation_id: int, mark: Mark | None, *, published: bool) -> Answer:
    found = storage.mark_recommendation(recommendation_id, published=published, by=actor_of(request, mark))
    state_of(request).version.forget()
    return linked(answer_of(found))
