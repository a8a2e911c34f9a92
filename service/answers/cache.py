"""Answers kept in memory. A question is looked up once for each version of the database, and again after a while, because answers give
ages in days and because the database may be changed by other means than storage.base.Storage.

How long an answer is fresh differs from answer to answer, so that answers made together do not all expire together. After that the old
answer is still given at once, while the background renews answers, one at a time. Past a hard maximum the client waits for a new look-up.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import structlog
from starlette.responses import Response

from service.web.caching import look_at_error
from service.web.errors import Problem
from service.web.metrics import Metrics
from storage.base import StorageFault

_FRESH_S = (60.0, 120.0)  # shortest and longest
_LONGEST_S = 240.0
_RETRY_S = 5.0  # after a renewal that failed
log = structlog.get_logger("tuner.service")


class Source(StrEnum):
    """Where an answer came from; the label of a metric."""

    HIT = "hit"
    STALE = "stale"  # out of memory, and due to be renewed
    SHARED = "shared"  # waited for the look-up of another request
    MISS = "miss"


@dataclass(frozen=True)
class Kept:
    """An answer as it is sent. `counted`: what the metrics count it as."""

    body: bytes
    headers: Mapping[str, str]
    counted: tuple[str, str, bool]

    @cached_property
    def _raw_headers(self) -> Sequence[tuple[bytes, bytes]]:
        return tuple(Response(self.body, headers=dict(self.headers)).raw_headers)

    def response(self) -> Response:
        response = Response(self.body)
        response.raw_headers = list(self._raw_headers)  # to encode them again each time takes as long as all the rest
        return response


type LookUp = Callable[[], Awaitable[Kept]]


@dataclass
class _Entry:
    kept: Kept
    look_up: LookUp
    made_at: float  # when its look-up began
    fresh_until: float


class AnswerCache:
    """For one version of the database; a new version empties it. Not for several threads: the event loop's alone."""

    def __init__(
        self,
        most: int,
        metrics: Metrics,
        *,
        now: Callable[[], float] = time.monotonic,
        fresh_for: Callable[[], float] = lambda: random.uniform(*_FRESH_S),  # noqa: S311  # no secret
    ) -> None:
        self._most = most
        self._metrics = metrics
        self._now = now
        self._fresh_for = fresh_for
        self._version: object = None
        self._entries: OrderedDict[object, _Entry] = OrderedDict()
        self._look_ups: dict[object, asyncio.Task[Kept]] = {}  # of this version, that requests wait for
        self._due: dict[object, None] = {}  # to be renewed, in this order
        self._renewing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Kept]] = set()  # look-ups of any version

    def get(self, version: object, question: object) -> Kept | None:
        """What is in memory, fresh or not; None where it has to be looked up."""
        self._require(version)
        entry = self._entries.get(question)
        if entry is None:
            return None
        now = self._now()
        if now - entry.made_at > _LONGEST_S:
            del self._entries[question]
            return None
        self._entries.move_to_end(question)
        if now > entry.fresh_until:
            self._metrics.cached(Source.STALE)
            self._renew(question)
        else:
            self._metrics.cached(Source.HIT)
        return entry.kept

    async def look_up(self, version: object, question: object, look_up: LookUp, *, keep: bool = True) -> Kept:
        """Look the question up; others that ask it meanwhile get the same result or the same error. `look_up` must not use anything of a
        request, because it is called again when the answer is renewed."""
        self._require(version)
        task = self._look_ups.get(question)
        self._metrics.cached(Source.MISS if task is None else Source.SHARED)
        if task is None:
            task = self._look_ups[question] = asyncio.create_task(self._make(version, question, look_up, keep=keep))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(look_at_error)
        return await asyncio.shield(task)  # one client that goes away does not end it for the others

    async def close(self) -> None:
        """Ends what runs in the background."""
        running = [*self._tasks, *([] if self._renewing is None else [self._renewing])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _require(self, version: object) -> None:
        if version != self._version:
            self._version = version
            self._entries.clear()
            self._look_ups.clear()
            self._due.clear()

    async def _make(self, version: object, question: object, look_up: LookUp, *, keep: bool) -> Kept:
        begun = self._now()
        try:
            kept = await look_up()
            if keep:
                self._put(version, question, _Entry(kept, look_up, begun, begun + self._fresh_for()))
            return kept
        finally:
            if self._look_ups.get(question) is asyncio.current_task():
                del self._look_ups[question]

    def _put(self, version: object, question: object, entry: _Entry) -> None:
        """What was made for another version than the current one is not kept."""
        if version != self._version:
            return
        self._entries[question] = entry
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def _renew(self, question: object) -> None:
        self._due[question] = None
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew_all())

    async def _renew_all(self) -> None:
        try:
            while self._due:
                question = next(iter(self._due))
                if (entry := self._entries.get(question)) is not None:
                    await self._renew_one(self._version, question, entry)
                self._due.pop(question, None)
        finally:
            self._renewing = None

    async def _renew_one(self, version: object, question: object, entry: _Entry) -> None:
        """An error leaves the old answer until its hard maximum. A Problem is no error but the new answer: who asks next gets it."""
        begun = self._now()
        try:
            kept = await entry.look_up()
        except Problem:
            if self._entries.get(question) is entry:
                del self._entries[question]
        except Exception as error:  # whatever it was, nobody waits for it
            entry.fresh_until = self._now() + _RETRY_S
            self._metrics.renewed(done=False)
            known = isinstance(error, StorageFault)
            log.warning("renewal_failed", question=str(question), error=type(error).__name__, reason=str(error), exc_info=not known)
            return
        else:
            if self._entries.get(question) is entry:  # not emptied, not looked up meanwhile
                self._put(version, question, _Entry(kept, entry.look_up, begun, begun + self._fresh_for()))
        self._metrics.renewed(done=True)
