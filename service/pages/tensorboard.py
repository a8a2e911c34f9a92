"""TensorBoard under the service: the service's rules for who may read hold for it too, and nothing of a request reaches it that it does
not need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, Request
from starlette.background import BackgroundTask
from starlette.responses import RedirectResponse, Response, StreamingResponse

from service.answers.tensorboard_links import MOUNT
from service.pages.parts import PageRoute
from service.pages.templating import page
from service.pages.tensorboard_child import TensorBoardChild
from service.web.errors import Problem

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# TensorBoard and XProf write scripts and styles into their pages; nothing is relaxed beyond this prefix, and nothing leaves this machine.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-src 'self' blob:; frame-ancestors 'self'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
_SENT = ("accept", "accept-encoding", "accept-language", "content-type", "if-modified-since", "if-none-match", "range", "user-agent")
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
    "vary",
)
_AGAIN_S = "2"


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
async def tensorboard(request: Request, running: ChildDep, client: ClientDep, rest: str) -> Response:
    """What TensorBoard answers; while it starts, a page that asks again by itself."""
    if any(part in {".", ".."} for part in rest.replace("\\", "/").split("/")):
        raise Problem(404, "there is no such page of TensorBoard")
    base = await running.address(client)
    if base is None:
        return _starting(request, running.problem)
    raw = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope["query_string"]
    target = httpx.URL(base).copy_with(raw_path=raw.partition(b"?")[0] + (b"?" + query if query else b""))
    headers = {name: request.headers[name] for name in _SENT if name in request.headers}
    asked = client.build_request(request.method, target, headers=headers, content=await request.body())
    try:
        answer = await client.send(asked, stream=True)
    except httpx.HTTPError:
        return _starting(request, running.problem)
    returned = {name: answer.headers[name] for name in _RETURNED if name in answer.headers}
    returned |= {"content-security-policy": _POLICY, "x-frame-options": "SAMEORIGIN"}
    return StreamingResponse(_body(answer), answer.status_code, returned, background=BackgroundTask(answer.aclose))


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    """As it came, compressed where it was."""
    async for part in answer.aiter_raw():
        yield part


def _starting(request: Request, problem: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        raise Problem(503, problem or "TensorBoard is starting", headers={"retry-after": _AGAIN_S})
    answer = page(request, "tensorboard.html", 503, problem=problem)
    answer.headers["retry-after"] = _AGAIN_S
    answer.headers["refresh"] = _AGAIN_S if not problem else "10"
    return answer
