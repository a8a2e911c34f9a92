"""What a request must pass before any route sees it: size, host name, rate, credentials."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_plus

from starlette.types import Message, Receive, Scope

from service.web.auth import CHALLENGE, SCOPE_READ, Credentials, KnownToken, credentials_of, environment_token, find_token
from service.web.errors import Problem
from service.web.limits import RateLimit, client_key
from service.web.settings import ServiceSettings

HeaderMap = Mapping[str, str]
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_PATH_BYTES = 2048
_MOST_HEADER_BYTES = 16 * 1024
_BODY_TIMEOUT_S = 10.0
_LONGEST_NAME = 60
_MAY_REPEAT = frozenset({"slo", "version"})
_BY_NAME = "name "  # of a token, as the key of a rate limit; no address begins so
_UNLIMITED = "/healthz"  # a client that asks too much must not make its host restart us
_OF_A_PROXY = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def headers_of(scope: Scope) -> dict[str, str]:
    """By name in lower case; of a repeated header the last one."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


class Checks:
    """`tokens` gives the stored ones that are in force now; the operator's own needs no database."""

    def __init__(self, settings: ServiceSettings, tokens: Callable[[], Awaitable[Sequence[KnownToken]]]) -> None:
        self._settings = settings
        self._own_tokens = environment_token(settings.token)
        self._tokens = tokens
        self._host_names = settings.host_names
        self._open_reads = settings.open_reads
        self._all = RateLimit(settings.rate_limit)
        self._writes = RateLimit(settings.write_rate_limit)
        self._failures = RateLimit(settings.failed_auth_rate_limit)

    async def pass_on(self, scope: Scope, headers: HeaderMap, receive: Receive) -> Receive:
        """Make all checks; returns the ASGI `receive` from which the route reads the body. Raises Problem, StorageFault.

        Who has a token is counted apart from others at the same address: what those do locks nobody out.
        """
        client = client_key(scope["client"][0]) if scope.get("client") else ""
        known = "authorization" in headers
        if not known:
            self._count(scope, client)
        self._sizes(scope, headers)
        self._host(scope, headers)
        await self._who(scope, headers, client)
        name = scope["state"].get("token_name")
        key = client if name is None else f"{_BY_NAME}{name} {client}"
        if known:
            self._count(scope, key)
        if scope["method"] in _READING:
            return receive
        if name is None and scope["path"].startswith("/v1/"):
            return nothing  # its route refuses it: no body is waited for, and nobody's writes are used up
        _limited(self._writes.take(key))
        return await whole_body(receive, self._settings.max_body_bytes)

    def _count(self, scope: Scope, key: str) -> None:
        if scope["path"] != _UNLIMITED:
            _limited(self._all.take(key))

    def _sizes(self, scope: Scope, headers: HeaderMap) -> None:
        query = scope["query_string"]
        if len(scope["path"]) > _MOST_PATH_BYTES or len(query) > self._settings.max_query_bytes:
            raise Problem(414, f"the path may have {_MOST_PATH_BYTES} characters, the query {self._settings.max_query_bytes} bytes")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _MOST_HEADER_BYTES:
            raise Problem(431, f"the headers may have {_MOST_HEADER_BYTES} bytes together")
        if "\0" in scope["path"] or b"%00" in query or b"\0" in query:
            raise Problem(400, "a zero byte is no part of any name here")
        if scope["path"].startswith("/v1/"):
            _once_each(query)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise Problem(400, "Content-Length is no number")
        if int(length[:20]) > self._settings.max_body_bytes:
            raise _too_large(self._settings.max_body_bytes)

    def _host(self, scope: Scope, headers: HeaderMap) -> None:
        if sum(name == b"host" for name, _ in scope["headers"]) > 1:
            raise Problem(400, "more than one Host header")
        if self._host_names is not None and _host_name(headers.get("host", "")) not in self._host_names:
            raise Problem(421, "this service answers under its own host name only; name others with --public-url")

    async def _who(self, scope: Scope, headers: HeaderMap, client: str) -> None:
        header = headers.get("authorization")
        state: dict[str, Any] = scope.setdefault("state", {})
        closed = self._is_closed(scope, headers)
        if header is None:
            if closed:
                raise Problem(401, "a token is needed: Authorization: Bearer TOKEN", headers=CHALLENGE)
            return
        credentials = credentials_of(header)
        if credentials is None:
            raise self._unknown(client)
        found = await self.holder(credentials.token, client)
        writes = scope["method"] not in _READING and scope["path"].startswith("/v1/")  # its route wants the scope publish
        if closed and not writes and SCOPE_READ not in found.scopes:
            raise Problem(403, f"the token lacks the scope {SCOPE_READ}")
        state["token_name"], state["scopes"] = found.name, _scopes(found, credentials)

    def _is_closed(self, scope: Scope, headers: HeaderMap) -> bool:
        """Whether reading needs a token. What a proxy on this machine passes on comes from elsewhere."""
        if scope["path"] in OPEN_PATHS:
            return False
        return not self._open_reads or any(name in headers for name in _OF_A_PROXY)

    async def holder(self, token: str, client: str) -> KnownToken:
        """Whose token it is. `client`: who is counted where it is nobody's. Raises Problem."""
        found = find_token(self._own_tokens, token) or find_token(await self._tokens(), token)
        if found is None:
            raise self._unknown(client)
        return found

    def _unknown(self, client: str) -> Problem:
        """Counts the failure: a right token is never refused for what others tried from the same address."""
        _limited(self._failures.take(client))
        return Problem(401, "the token is unknown, expired or revoked", headers=CHALLENGE)


def _scopes(token: KnownToken, credentials: Credentials) -> frozenset[str]:
    return token.scopes & {SCOPE_READ} if credentials.by_browser else token.scopes


def _limited(wait_s: int | None) -> None:
    if wait_s is not None:
        raise Problem(429, f"too many requests; ask again in {wait_s} s", headers={"retry-after": str(wait_s)})


def _host_name(host: str) -> str:
    """Without the port; "[::1]" keeps its brackets."""
    return host.rpartition(":")[0].lower() if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host.lower()


def _once_each(query: bytes) -> None:
    """Which of two values counts, every program between the client and us may see differently. Raises Problem."""
    names = [unquote_plus(part.partition(b"=")[0].decode("latin-1")) for part in query.split(b"&")] if b"&" in query else []
    twice = sorted({name for name in names if names.count(name) > 1} - _MAY_REPEAT)
    if twice:
        raise Problem(400, f"query.{twice[0]}: given more than once")


def _keys_once_each(body: bytes) -> None:
    """Raises Problem. What is no JSON is left to the route, which knows what it takes."""

    def once(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = min(name for name in names if names.count(name) > 1)
            raise Problem(400, f"body.{twice[:_LONGEST_NAME]}: given more than once")

    with suppress(ValueError, RecursionError):
        json.loads(body, object_pairs_hook=once)


def _too_large(most: int) -> Problem:
    return Problem(413, f"the body may have {most} bytes")


async def nothing() -> Message:
    """An ASGI `receive` of an empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def whole_body(receive: Receive, most: int, timeout_s: float = _BODY_TIMEOUT_S) -> Receive:
    """Reads the body before the route does, so that one too large, too slow or ambiguous never reaches it. Raises Problem."""
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(400, "the client went away")
                body += message.get("body", b"")
                if len(body) > most:
                    raise _too_large(most)
                more = message.get("more_body", False)
    except TimeoutError:
        raise Problem(408, f"the body did not arrive within {timeout_s:g} s") from None
    _keys_once_each(bytes(body))
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return again
