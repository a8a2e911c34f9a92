"""TensorBoard under the service: the service's rules for who may read hold for it too, and of a request nothing reaches it but what
profiles.tensorboard_guard allows, from pages of our own."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import quote, urlsplit

import httpx
import structlog
from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from profiles.tensorboard_guard import Refused, checked, same_origin
from service.answers.deps import SettingsDep
from service.answers.tensorboard_links import MOUNT
from service.pages.parts import PageRoute
from service.pages.templating import page
from service.pages.tensorboard_child import TensorBoardChild
from service.web.compression import AS_IT_IS, GZIP
from service.web.errors import Problem
from service.web.settings import ServiceSettings

log = structlog.get_logger("tuner.service")
router = APIRouter(route_class=PageRoute, include_in_schema=False)

# TensorBoard and XProf write scripts and styles into their pages; nothing is relaxed beyond this prefix, and nothing leaves this machine.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-src 'self' blob:; frame-ancestors 'self'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
_SENT = ("accept", "accept-encoding", "accept-language", "content-type", "if-modified-since", "if-none-match", "user-agent")
_RETURNED = (
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "location",
)
_OF_THE_PACKED = ("content-encoding", "content-length", "etag")  # not true of the unpacked bytes
_AGAIN_S = "2"
_LONGEST_S = 300.0  # XProf converts a large profile that long


async def child(request: Request) -> TensorBoardChild:
    found: TensorBoardChild = request.app.state.tensorboard
    return found


async def http_client(request: Request) -> httpx.AsyncClient:
    found: httpx.AsyncClient = request.app.state.tensorboard_client
    return found


ChildDep = Annotated[TensorBoardChild, Depends(child)]
ClientDep = Annotated[httpx.AsyncClient, Depends(http_client)]


@router.get(MOUNT)
async def to_its_folder() -> Response:
    return RedirectResponse(f"{MOUNT}/")


@router.api_route(MOUNT + "/{rest:path}", methods=["GET", "HEAD", "POST"])
async def tensorboard(request: Request, settings: SettingsDep, running: ChildDep, client: ClientDep, rest: str) -> Response:
    """What TensorBoard answers; while it starts, a page that asks again by itself."""
    query = await _allowed(request, settings, rest)
    base = await running.address(client)
    if base is None:
        return _starting(request, running.problem)
    if not running.take():
        raise Problem(429, "TensorBoard has enough to do; ask again", headers={"retry-after": _AGAIN_S})
    try:
        target = httpx.URL(base).copy_with(raw_path=f"{MOUNT}/{quote(rest)}{'?' if query else ''}{query}".encode())
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        asked = client.build_request(request.method, target, headers=headers, content=await request.body())
        async with asyncio.timeout(_LONGEST_S):
            answer = await client.send(asked, stream=True)  # begins when all of it is made
    except (TimeoutError, httpx.TimeoutException):
        await running.look(client)
        raise Problem(504, f"TensorBoard did not answer within {_LONGEST_S:g} s") from None
    except httpx.HTTPError:
        return _starting(request, running.problem)
    finally:
        running.give()
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        await answer.aclose()
        log.warning("tensorboard_failed", path=request.url.path, query=query, status=answer.status_code)
        raise Problem(422, "TensorBoard cannot make this of the profile; `tuner profile show` may say why")
    returned = {name: answer.headers[name] for name in _RETURNED if name in answer.headers}
    returned |= {"content-security-policy": _POLICY, "x-frame-options": "SAMEORIGIN"}
    return _Passed(answer, returned, packed=request.headers.get("accept-encoding") == GZIP)


async def _allowed(request: Request, settings: ServiceSettings, rest: str) -> str:
    """The query to pass on. Raises Problem."""
    public = urlsplit(settings.public_url).netloc if settings.public_url else ""
    if not same_origin(request.headers, [request.headers.get("host", ""), public]):
        raise Problem(403, "a page of another site may not ask TensorBoard; behind a proxy name our own with --public-url")
    query = request.scope["query_string"].decode("latin-1")
    try:
        return await run_in_threadpool(checked, request.method, f"/{rest}", query, settings.logdir)
    except Refused as error:
        raise Problem(error.status, str(error)) from None


class _Passed(StreamingResponse):
    """As it came where our client takes it `packed` or it is plain (service.web.compression packs it then), else unpacked: not everything
    there asks what a client takes. Its connection is given back also where our client goes away."""

    def __init__(self, answer: httpx.Response, headers: dict[str, str], *, packed: bool) -> None:
        if headers.get("content-encoding", AS_IT_IS) == AS_IT_IS:  # TensorBoard says so of its first page
            headers.pop("content-encoding", None)
            body = answer.aiter_raw()
        elif packed:
            headers["vary"] = "accept-encoding"
            body = answer.aiter_raw()
        else:
            headers = {name: value for name, value in headers.items() if name not in _OF_THE_PACKED}
            body = answer.aiter_bytes()
        super().__init__(body, answer.status_code, headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()


def _starting(request: Request, problem: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        raise Problem(503, problem or "TensorBoard is starting", headers={"retry-after": _AGAIN_S})
    answer = page(request, "tensorboard.html", 503, problem=problem)
    answer.headers["retry-after"] = _AGAIN_S
    answer.headers["refresh"] = _AGAIN_S if not problem else "10"
    return answer
