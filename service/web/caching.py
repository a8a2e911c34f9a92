"""Conditional requests (ETag), and values that are read again when they are too old."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from starlette.responses import Response
from starlette.status import HTTP_200_OK, HTTP_304_NOT_MODIFIED

from service.web.strict import Handler, StrictRoute

_ETAG_BYTES = 16
KEEP_BUT_ASK = "no-cache"  # Cache-Control: keep it, but ask whether it still holds


class EtagRoute(StrictRoute):
    """Gives the answers of GET a strong ETag and answers If-None-Match with 304. Answers that stream, or that set an ETag, stay."""

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()
        if "GET" not in (self.methods or ()):
            return inner

        async def handler(request: Request) -> Response:
            return conditional(request, await inner(request))

        return handler


def conditional(request: Request, response: Response) -> Response:
    body = getattr(response, "body", None)
    if response.status_code != HTTP_200_OK or not isinstance(body, bytes):
        return response
    if "etag" not in response.headers:
        response.headers["etag"] = etag_of(body)
    response.headers.setdefault("cache-control", KEEP_BUT_ASK)
    if matches(request.headers.get("if-none-match"), response.headers["etag"]):
        kept = {name: value for name, value in response.headers.items() if name in ("etag", "cache-control", "vary", "link")}
        return Response(status_code=HTTP_304_NOT_MODIFIED, headers=kept)
    return response


def etag_of(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=_ETAG_BYTES).hexdigest()}"'


def matches(header: str | None, etag: str) -> bool:
    """RFC 9110, 13.1.2: weak comparison, a list, or "*"."""
    if header is None:
        return False
    given = [item.strip().removeprefix("W/") for item in header.split(",")]
    return etag in given or given == ["*"]


class Snapshot[T]:
    """A value that is read again when it is older than `max_age_s`, by one reader at a time. Until it is twice as old, requests get the old
    one meanwhile: on a busy machine they would all wait for the reader every time. Later they wait, and share its error."""

    def __init__(self, read: Callable[[], Awaitable[T]], max_age_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._now = now
        self._held: tuple[float, T] | None = None  # when the reading began
        self._reading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        held = self._held
        age_s = math.inf if held is None else self._now() - held[0]
        if held is not None and age_s < self._max_age_s:
            return held[1]
        reading = self._reading
        if reading is None:
            reading = self._reading = asyncio.create_task(self._renew())
            reading.add_done_callback(look_at_error)
        if held is not None and age_s < 2 * self._max_age_s:
            return held[1]
        return await asyncio.shield(reading)  # one client that goes away does not end it for the others

    def forget(self) -> None:
        """Drop the value: the next request reads it again, and a reading that has already begun is discarded."""
        self._held = self._reading = None

    async def _renew(self) -> T:
        me, begun = asyncio.current_task(), self._now()
        try:
            value = await self._read()
            if self._reading is me:
                self._held = (begun, value)
            return value
        finally:
            if self._reading is me:
                self._reading = None


def look_at_error(task: asyncio.Task[Any]) -> None:
    """Fetch the error of a finished task. Whoever waited has got it; where nobody did, asyncio would log that it was never retrieved."""
    if not task.cancelled():
        task.exception()
