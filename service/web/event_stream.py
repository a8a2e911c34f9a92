"""Server-sent events (WHATWG HTML, 9.2) about one thing that changes: its newest state, whenever that is another one.

Nothing is kept for a client, and no database connection between two looks: whoever comes back with Last-Event-ID gets the newest state
unless it is the one that they have. States in between may be left out.
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
POLL_S = 1.0
HEARTBEAT_S = 15.0
LONGEST_S = 3600.0  # then the client comes back by itself
MOST_STREAMS = 200  # of one process
_ID_BYTES = 8


@dataclass(frozen=True)
class Snapshot:
    """`name`: of the event; `final`: nothing will change any more."""

    name: str
    data: dict[str, Any]
    final: bool

    @property
    def id(self) -> str:
        """The same for the same state, in every process."""
        return hashlib.blake2b(json.dumps([self.name, self.data], sort_keys=True).encode(), digest_size=_ID_BYTES).hexdigest()


@dataclass
class Streams:
    """All streams of a process. `ending`: the service is about to stop, and each stream ends at its next look."""

    open: int = 0
    ending: bool = False
    poll_s: float = POLL_S
    now: Callable[[], float] = field(default=time.monotonic)

    def follow(self, request: Request, first: Snapshot, read: Callable[[], Snapshot]) -> Response:
        """`read` looks at the database again. A client that has the last state already is told so by a 204, after which browsers do not
        come back. Raises Problem where too many follow already."""
        if first.final and request.headers.get("last-event-id") == first.id:
            return Response(status_code=204)
        if self.open >= MOST_STREAMS:
            raise Problem(429, "too many follow studies here already", headers={"retry-after": "30"})
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would wait for more of it
        return StreamingResponse(self._events(request, read), media_type=MEDIA_TYPE, headers=headers)

    async def _events(self, request: Request, read: Callable[[], Snapshot]) -> AsyncIterator[bytes]:
        known = request.headers.get("last-event-id", "")
        self.open += 1
        try:
            begun = said = self.now()
            yield b"retry: 3000\n\n"
            while not self.ending and self.now() - begun < LONGEST_S:
                try:
                    found = await run_in_threadpool(read)
                except NotFound:
                    yield b"event: gone\ndata: {}\n\n"
                    return
                except StorageFault:  # the database is away: the client keeps what it has, and the connection
                    found = None
                if found is not None and found.id != known:
                    known, said = found.id, self.now()
                    yield f"id: {known}\nevent: {found.name}\ndata: {json.dumps(found.data)}\n\n".encode()
                if found is not None and found.final:
                    return
                if self.now() - said >= HEARTBEAT_S:
                    said = self.now()
                    yield b": alive\n\n"
                await asyncio.sleep(self.poll_s)
        finally:
            self.open -= 1
