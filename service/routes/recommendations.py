"""Which flags for this model, accelerator and workload; what is stored; the forms that `vllm serve` and a cluster take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from service.answers import find_answer
from service.caching import EtagRoute, Handler, conditional
from service.deps import SettingsDep, StorageDep
from service.errors import Problem
from service.paging import page_of
from service.schemas.common import Id, problems
from service.schemas.recommendations import Answer, AnswerPage, RecommendationQuery, StoredQuery, answer_of
from service.state import state_of
from storage.records import Json
from tuner.recommend import STATUS_NONE
from tuner.serve_formats import FORMATS

_FRESH_S = 60.0  # ages are given in days
_MEDIA = {"yaml": "application/yaml", "kubernetes": "application/yaml", "flags": "text/plain", "env": "text/plain"}


class AnswerRoute(EtagRoute):
    """Answers a question that was asked before out of memory: before its parameters are even parsed, for they were valid then."""

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            state = state_of(request)
            version = await state.version.get()
            question = request.scope["query_string"]
            cached = state.answers.get(version, question, _FRESH_S)
            state.metrics.cached(cached is not None)
            if cached is not None:
                body, etag = cached
                return conditional(request, Response(body, media_type="application/json", headers={"etag": etag}))
            response = await inner(request)
            if response.status_code == 200 and isinstance(response.body, bytes):
                state.answers.put(version, question, response.body)
            return response

        return handler


router = APIRouter(prefix="/v1/recommendations", tags=["recommendations"], route_class=EtagRoute)
asking = APIRouter(prefix="/v1/recommendations", tags=["recommendations"], route_class=AnswerRoute)


@asking.get("", summary="The one answer to a question", response_model=Answer, responses=problems(304))
def answer(query: Annotated[RecommendationQuery, Query()], storage: StorageDep, settings: SettingsDep, request: Request) -> Json:
    """Exact match, else the nearest with its distance, else vLLM's default, else none: `status` and `match` say which."""
    found = find_answer(storage, query, settings)
    stale = found["stale"].get("stale", False)
    state_of(request).metrics.answer(found["status"], found["match"].get("kind", "none"), bool(stale))
    return found


@router.get("/stored", summary="All stored recommendations, newest first", response_model=AnswerPage, responses=problems(304))
def stored(query: Annotated[StoredQuery, Query()], storage: StorageDep, request: Request, response: Response) -> Json:
    found = storage.list_recommendations(
        model=query.model, accelerator=query.accelerator, include_withdrawn=query.withdrawn, limit=query.limit + 1, offset=query.offset
    )
    shown, page = page_of(list(found), query, request, response)
    return {"items": [answer_of(item) for item in shown], "page": page}


@router.get("/{recommendation_id}", summary="A stored recommendation", response_model=Answer, responses=problems(304, 404))
def one(recommendation_id: Id, storage: StorageDep) -> Json:
    return answer_of(storage.get_recommendation(recommendation_id))


_AS_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {media: {"schema": {"type": "string"}} for media in sorted(set(_MEDIA.values()))}, "description": "As it is used"}
}


@router.get(
    "/{recommendation_id}/config",
    summary="As `vllm serve --config`, flags, environment or container",
    response_class=Response,
    responses={**_AS_TEXT, **problems(304, 404, 409)},
)
def config(recommendation_id: Id, storage: StorageDep, format: Literal["yaml", "flags", "env", "kubernetes"] = "yaml") -> Response:  # noqa: A002
    found = storage.get_recommendation(recommendation_id)
    if found.status == STATUS_NONE:
        raise Problem(409, f"nothing is recommended: {found.body.get('reason', 'no evidence')}")
    return Response(FORMATS[format](found.body), media_type=_MEDIA[format])
