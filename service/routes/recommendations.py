"""Which flags for this model, accelerator and workload; what is stored; the forms that `vllm serve` and a cluster take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.answers.cache import Kept
from service.answers.deps import SettingsDep, StorageDep
from service.answers.find import find_answer, linked, refused_because
from service.answers.state import state_of
from service.schemas.common import Id, problems
from service.schemas.recommendations import (
    Answer,
    AnswerPage,
    AnswerQuery,
    ConfigQuery,
    Form,
    StoredQuery,
)
from service.web.caching import KEEP_BUT_ASK, EtagRoute, conditional, etag_of
from service.web.errors import Problem
from service.web.paging import page_of
from service.web.settings import ServiceSettings
from service.web.strict import Handler
from storage.base import Storage
from tuner.serving.serve_formats import FORMATS
from tuner.verdict.answer import STATUS_NONE, STATUS_PREDICTED, answer_of, readable_answers

_LONGEST_KEPT = 1024  # bytes of a query: nobody fills our memory with questions
_MEDIA = {"yaml": "application/yaml", "kubernetes": "application/yaml", "flags": "text/plain", "env": "text/plain"}


class AnswerRoute(EtagRoute):
    """Answers a repeated question from memory without parsing its parameters again: they were valid the first time."""

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            state = state_of(request)
            kept = state.answers.get(await state.version.get(), _question_of(request))
            if kept is None:
                return await inner(request)  # which looks it up
            state.metrics.answer(*kept.counted)
            return conditional(request, kept.response()) if "if-none-match" in request.headers else kept.response()

        return handler


def _question_of(request: Request) -> tuple[str, bytes]:
    return request.scope["path"], request.scope["query_string"]


async def _looked_up(request: Request, look_up: Callable[[], Kept]) -> Response:
    """`look_up` runs in a thread, now and whenever the answer is renewed, so it holds what was asked and not the request."""
    state, question = state_of(request), _question_of(request)
    renewable = partial(run_in_threadpool, look_up)
    kept = await state.answers.look_up(await state.version.get(), question, renewable, keep=len(question[1]) <= _LONGEST_KEPT)
    state.metrics.answer(*kept.counted)
    return kept.response()


router = APIRouter(prefix="/v1/recommendations", tags=["recommendations"], route_class=EtagRoute)
asking = APIRouter(prefix="/v1/recommendations", tags=["recommendations"], route_class=AnswerRoute)


@asking.get("", summary="The one answer to a question", response_model=Answer, responses=problems(304))
async def answer(query: Annotated[AnswerQuery, Query()], storage: StorageDep, settings: SettingsDep, request: Request) -> Response:
    """Exact match, else the nearest with its distance, else vLLM's default, else none: `status` and `match` say which. With
    `accept=predicted` a kept simulation goes before vLLM's default, with status `predicted` and its error under `prediction`."""
    asked = request.scope["query_string"].decode("latin-1")
    return await _looked_up(request, partial(_answer, storage, settings, query, f"{request.url.path}/config", asked))


def _answer(storage: Storage, settings: ServiceSettings, query: AnswerQuery, config_path: str, asked: str) -> Kept:
    """`config_path` and `asked`: for the link to the same question's settings, where no stored recommendation is the answer."""
    found = find_answer(storage, query, settings, predicted=query.accept is not None)
    if found.status != STATUS_NONE and "config" not in found.links:
        accept = STATUS_PREDICTED if found.status == STATUS_PREDICTED else "nearest" if found.match["kind"] == "nearest" else "default"
        given = [(name, value) for name, value in parse_qsl(asked, keep_blank_values=True) if name != "accept"]
        found.links["config"] = f"{config_path}?{urlencode([*given, ('accept', accept)])}"
    return _kept(found, found.model_dump_json(exclude_unset=True).encode(), "application/json")


_AS_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/yaml": {
                "schema": {"type": "object"},
                "example": {"model": "Qwen/Qwen3-0.6B", "block-size": 64, "max-num-batched-tokens": 1024},
            },
            "text/plain": {"schema": {"type": "string"}, "example": "--block-size 64 --max-num-batched-tokens 1024\n"},
        },
        "description": "As it is used",
    }
}


@asking.get(
    "/config",
    summary="The answer to a question as `vllm serve` or a container takes it",
    response_class=Response,
    responses={**_AS_TEXT, **problems(304, 409)},
)
async def answered_config(query: Annotated[ConfigQuery, Query()], storage: StorageDep, settings: SettingsDep, request: Request) -> Response:
    """409 where the answer is weaker than `accept` allows: `curl --fail` then falls back on your own flags.

    Headers say what it is: X-Tuner-Status, X-Tuner-Match, X-Tuner-Stale, and Link to the stored recommendation.
    """
    return await _looked_up(request, partial(_answered_config, storage, settings, query))


def _answered_config(storage: Storage, settings: ServiceSettings, query: ConfigQuery) -> Kept:
    found = find_answer(storage, query, settings, predicted=query.accept == STATUS_PREDICTED)
    refused = refused_because(found, query.accept)
    if refused is not None:
        raise Problem(409, refused)
    headers = {
        "x-tuner-status": found.status,
        "x-tuner-match": found.match["kind"],
        "x-tuner-stale": str(found.stale["stale"]).lower(),
    }
    if found.links:
        headers["link"] = f'<{found.links["self"]}>; rel="describedby"'
    text = _as_text(found, query.format)
    return _kept(found, bytes(text.body), text.headers["content-type"], headers)


def _kept(found: Answer, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> Kept:
    counted = (found.status, found.match.get("kind", "none"), found.stale.get("stale", False))
    own = {"content-type": content_type, "etag": etag_of(body), "cache-control": KEEP_BUT_ASK}
    return Kept(body, {**own, **(headers or {})}, counted)


def _as_text(found: Answer, form: Form) -> Response:
    return Response(FORMATS[form](found.served()), media_type=_MEDIA[form])


@router.get(
    "/stored",
    summary="All stored recommendations, newest first",
    response_model=AnswerPage,
    response_model_exclude_unset=True,
    responses=problems(304),
)
def stored(query: Annotated[StoredQuery, Query()], storage: StorageDep, request: Request, response: Response) -> AnswerPage:
    found = storage.list_recommendations(
        model=query.model,
        accelerator=query.accelerator,
        text=query.q,
        publication=query.publication,
        include_withdrawn=query.withdrawn,
        limit=query.limit + 1,
        offset=query.offset,
    )
    shown, page = page_of(list(found), query, request, response)
    return AnswerPage(items=[linked(answer) for _, answer in readable_answers(shown)], page=page)


@router.get(
    "/{recommendation_id}",
    summary="A stored recommendation",
    response_model=Answer,
    response_model_exclude_unset=True,
    responses=problems(304, 404),
)
def one(recommendation_id: Id, storage: StorageDep) -> Answer:
    return linked(answer_of(storage.get_recommendation(recommendation_id)))


@router.get(
    "/{recommendation_id}/config",
    summary="As `vllm serve --config`, flags, environment or container",
    response_class=Response,
    responses={**_AS_TEXT, **problems(304, 404, 409)},
)
def config(recommendation_id: Id, storage: StorageDep, format: Form = "yaml") -> Response:  # noqa: A002
    found = linked(answer_of(storage.get_recommendation(recommendation_id)))
    if found.status == STATUS_NONE:
        raise Problem(409, f"nothing is recommended: {found.reason or 'no evidence'}")
    return _as_text(found, format)
