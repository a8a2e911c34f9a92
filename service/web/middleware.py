"""The gate before every route, as one plain ASGI layer (each layer of Starlette's own kind costs as much as a route): request id, limits,
who may pass, security headers, logs and metrics, and the last net for errors."""

from __future__ import annotations

import itertools
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.checks import Checks, HeaderMap, headers_of
from service.web.errors import MEDIA_TYPE, Problem, problem_document, problem_response, storage_problem
from service.web.metrics import UNMATCHED, Metrics
from storage.base import StorageFault

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_SECURITY = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_SECURITY_NAMES = frozenset(name for name, _ in _SECURITY)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SLOW_S = 1.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
log = structlog.get_logger("tuner.service")


def wants_page(scope: Scope, headers: HeaderMap) -> bool:
    """Whether a browser asks for something to show; programs ask the API, or say that they take anything."""
    return "text/html" in headers.get("accept", "") and not scope["path"].startswith(("/v1/", "/static/"))


class _HeadAnswered(Exception):
    """Stops a route that would go on streaming to a HEAD request."""


@dataclass
class _Exchange:
    """One request and what became of it."""

    scope: Scope
    method: str
    request_id: str
    begun: float = field(default_factory=time.perf_counter)
    status: int = 0
    finished: bool = False


ErrorPage = Callable[[Scope, str, str], bytes]  # scope, title, detail -> HTML


class Gate:
    """A route may set a security header itself, then its own stays. HEAD is answered by the route of GET, without the body. Who asks for a
    page gets errors as pages."""

    def __init__(self, app: ASGIApp, checks: Checks, metrics: Metrics, error_page: ErrorPage) -> None:
        self._app = app
        self._error_page = error_page
        self._checks = checks
        self._metrics = metrics
        self._process, self._count = secrets.token_hex(6), itertools.count(1)

    def _new_id(self) -> str:
        """Unlike any other process's: for finding a request in the logs, not a secret."""
        return f"{self._process}-{next(self._count):08x}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        given = headers.get("x-request-id", "")
        exchange = _Exchange(scope, scope["method"], given if _REQUEST_ID.fullmatch(given) else self._new_id())
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        self._metrics.in_flight.inc()
        try:
            wanted = self._as_page(scope, send) if wants_page(scope, headers) else send
            await self._answer(exchange, headers, receive, self._sender(exchange, wanted))
        finally:
            self._metrics.in_flight.dec()
            self._record(exchange)

    async def _answer(self, exchange: _Exchange, headers: HeaderMap, receive: Receive, send: Send) -> None:
        scope = exchange.scope
        try:
            inner = await self._checks.pass_on(scope, headers, receive)
            if scope["method"] == "HEAD":
                scope = {**scope, "method": "GET"}
            await self._app(scope, inner, send)
        except _HeadAnswered:
            pass
        except (Problem, StorageFault) as error:  # from the checks: what a route raises was answered below
            problem = error if isinstance(error, Problem) else storage_problem(error)
            await problem_response(problem.status, problem.detail, problem.headers, **problem.extra)(scope, receive, send)
        except Exception:
            if exchange.finished:  # the answer of a HEAD request, whose route was stopped
                return
            log.exception("unexpected", request_id=exchange.request_id, path=scope["path"])
            if exchange.status:
                raise
            detail = f"something went wrong here; the log has it under request id {exchange.request_id}"
            await problem_response(500, detail)(scope, receive, send)
        finally:
            exchange.scope = scope

    def _as_page(self, scope: Scope, send: Send) -> Send:
        """Problem documents, which come in one piece, as pages."""
        begun: list[Message] = []

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if dict(message["headers"]).get(b"content-type") == MEDIA_TYPE.encode():
                    begun.append(message)
                    return
            elif begun:
                start = begun.pop()
                given = json.loads(message["body"]) if message.get("body") else problem_document(int(start["status"]), "")
                body = self._error_page(scope, given["title"], given["detail"])
                headers = MutableHeaders(raw=start["headers"])
                headers["content-type"], headers["content-length"] = "text/html; charset=utf-8", str(len(body))
                headers["vary"] = "accept"
                await send(start)
                message = {**message, "body": body if message.get("body") else b""}
            await send(message)

        return answer

    @staticmethod
    def _sender(exchange: _Exchange, send: Send) -> Send:
        head = exchange.method == "HEAD"

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = int(message["status"])
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                own = {name for name, _ in headers.raw} & _SECURITY_NAMES
                headers.raw.extend([pair for pair in _SECURITY if pair[0] not in own] if own else _SECURITY)
                headers.raw.append((b"x-request-id", exchange.request_id.encode()))
                if exchange.status == HTTPStatus.METHOD_NOT_ALLOWED and headers.get("allow") == "GET":
                    headers["allow"] = "GET, HEAD"
            elif head:
                if exchange.finished:
                    raise _HeadAnswered
                exchange.finished = True
                more = message.get("more_body", False)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                if more:
                    raise _HeadAnswered
                return
            await send(message)

        return answer

    def _record(self, exchange: _Exchange) -> None:
        scope = exchange.scope
        seconds = time.perf_counter() - exchange.begun
        route = getattr(scope.get("route"), "path", UNMATCHED)
        self._metrics.request(exchange.method, route, exchange.status, seconds)
        # A line costs more than an answer out of memory; metrics count every request, the good and fast ones are logged with debug.
        worth_a_line = exchange.status >= 400 or seconds > _SLOW_S or exchange.method not in _READING
        (log.info if worth_a_line else log.debug)(
            "request",
            request_id=exchange.request_id,
            method=exchange.method,
            path=scope["path"],
            status=exchange.status,
            duration_ms=round(1000 * seconds, 3),
            client=scope["client"][0] if scope.get("client") else None,
            token=scope.get("state", {}).get("token_name"),
        )
