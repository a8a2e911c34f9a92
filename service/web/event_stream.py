"""Server-sent events (WHATWG HTML, 9.2) about one thing that changes.

Nothing is kept for a client, and no database connection between two looks: whoever comes back with Last-Event-ID gets what is new since.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from service.web.errors import Problem
from storage.base import NotFound, StorageFault

MEDIA_TYPE = "text/event-stream"
_FIELDS = {name: {"type": "string"} for name in ("id", "event", "data")}
EVENT_SCHEMA = {"type": "object", "description": "One event; data is JSON.", "properties": _FIELDS}  # readers of OpenAPI check each
POLL_S = 1.0
HEARTBEAT_S = 15.0
LONGEST_S = 3600.0  # then the client comes back by itself
MOST_STREAMS = 200  # of one process
_ID_BYTES = 8
_LONGEST_ID = 64


@dataclass(frozen=True)
class Event:
    """`id`: what a client sends as Last-Event-ID when it comes back; "" where it need not be told again."""

    name: str
    data: dict[str, Any]
    id: str = ""

    @classmethod
    def of_state(cls, name: str, data: dict[str, Any]) -> Event:
        """With an id that is the same for the same state, in every process."""
        text = json.dumps([name, data], sort_keys=True).encode()
        return cls(name, data, hashlib.blake2b(text, digest_size=_ID_BYTES).hexdigest())

    def to_bytes(self) -> bytes:
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.name}\ndata: {json.dumps(self.data)}\n\n".encode()


@dataclass(frozen=True)
class Look:
    """What is new; `final`: nothing will change any more."""

    events: tuple[Event, ...]
    final: bool


type Reader = Callable[[str], Look]
"""Looks at the database: what is new to a client whose last event has this id ("": that has none)."""


@dataclass
class Streams:
    """All streams of a process. `ending`: the service is about to stop, and each stream ends at its next look."""

    open: int = 0
    ending: bool = False
    poll_s: float = POLL_S
    now: Callable[[], float] = field(default=time.monotonic)

    async def follow(self, request: Request, read: Reader) -> Response:
        """What `read` raises at first is the answer. A client that has the last event already is told so by a 204, after which browsers
        do not come back. Raises Problem where too many follow already."""
        known = request.headers.get("last-event-id", "")[:_LONGEST_ID]
        first = await run_in_threadpool(read, known)
        if first.final and not first.events:
            return Response(status_code=204)
        if self.open >= MOST_STREAMS:
            raise Problem(429, "too many follow studies here already", headers={"retry-after": "30"})
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would wait for more of it
        return StreamingResponse(self._events(known, first, read), media_type=MEDIA_TYPE, headers=headers)

    async def _events(self, known: str, first: Look, read: Reader) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            begun = said = self.now()
            yield b"retry: 3000\n\n"
            found: Look | None = first
            while True:
                for event in found.events if found is not None else ():
                    known, said = event.id or known, self.now()
                    yield event.to_bytes()
                if self.ending or (found is not None and found.final) or self.now() - begun >= LONGEST_S:
                    return
                if self.now() - said >= HEARTBEAT_S:
                    said = self.now()
                    yield b": alive\n\n"
                await asyncio.sleep(self.poll_s)
                try:
                    found = await run_in_threadpool(read, known)
                except NotFound:
                    yield b"event: gone\ndata: {}\n\n"
                    return
                except StorageFault:  # the database is away: the client keeps what it has, and the connection
                    found = None
        finally:
            self.open -= 1
