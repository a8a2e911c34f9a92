"""The load driver: sends a plan to an engine that is stepped from the same thread, and records every token. Standard library only.

One monotonic clock for everything. Closed loop: at most `max_concurrency` requests are unfinished; the next one is sent the moment one
finishes. Open loop: a request is sent at the first step boundary at or after its arrival; the sender's lag is in the records (sent -
planned).
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tuner.core.contract import LoadPlan, PlannedRequest, RequestRecord
from tuner.core.numbers import number

IDLE_SLEEP_S = 0.001

type Stop = Callable[[Sequence[RequestRecord], float], str | None]
"""(requests sent so far, seconds since the window's start) -> why the window may end now, or None."""


@dataclass(frozen=True)
class TokenBatch:
    """New tokens of one request from one engine step."""

    request_id: str
    token_ids: Sequence[int]
    finished: bool
    cached_tokens: int
    error: str | None = None


class SteppedEngine(Protocol):
    """What the driver needs of an engine."""

    def add(self, request: PlannedRequest) -> None: ...

    def step(self) -> Sequence[TokenBatch]: ...

    def abort(self, request_ids: Sequence[str]) -> None: ...


class WindowTimeout(Exception):
    """The window did not finish in time; everything unfinished was aborted."""


@dataclass
class _Open:
    request: PlannedRequest
    sent_s: float
    times_s: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    cached_tokens: int = 0
    finished_s: float | None = None
    error: str | None = None

    def record(self) -> RequestRecord:
        return RequestRecord(
            request_id=self.request.request_id,
            prompt_tokens=len(self.request.prompt_token_ids),
            planned_s=self.request.arrival_s,
            sent_s=self.sent_s,
            token_times_s=tuple(self.times_s),
            finished_s=self.finished_s,
            cached_tokens=self.cached_tokens,
            error=self.error,
        )


@dataclass(frozen=True)
class DrivenWindow:
    """`requests` in plan order, `tokens` by request id, `duration_s` from the first send to the last token.

    `stopped`: why the window ended early; then unfinished requests were aborted, and those never sent are missing.
    """

    requests: tuple[RequestRecord, ...]
    tokens: dict[str, tuple[int, ...]]
    duration_s: float
    stopped: str | None = None

    @property
    def output_digest(self) -> str:
        digest = hashlib.sha256()
        for record in self.requests:
            digest.update(f"{record.request_id}:{','.join(map(str, self.tokens[record.request_id]))};".encode())
        return digest.hexdigest()


def drive(
    engine: SteppedEngine,
    plan: LoadPlan,
    timeout_s: float,
    clock: Callable[[], float] = time.perf_counter,
    stop: Stop | None = None,
    stop_every: int = 1,
) -> DrivenWindow:
    """Send `plan`, step the engine until everything finished. Raises WindowTimeout.

    Open loop only: `stop` is asked whenever `stop_every` more requests have finished and something is still unfinished or unsent. A closed
    loop cannot be overtaken by its own arrivals, so it is never stopped.
    """
    pending = deque(sorted(plan.requests, key=lambda request: request.arrival_s))
    limit = plan.max_concurrency if plan.max_concurrency is not None else len(pending)
    watch = _Watch(stop, stop_every) if plan.max_concurrency is None else _Watch(None, stop_every)
    opened: dict[str, _Open] = {}
    unfinished: set[str] = set()
    start = clock()
    while pending or unfinished:
        now = clock() - start
        if now > timeout_s:
            engine.abort(sorted(unfinished))
            raise WindowTimeout(f"{len(unfinished)} requests unfinished and {len(pending)} unsent after {number(timeout_s)} s")
        while pending and len(unfinished) < limit and pending[0].arrival_s <= now:
            request = pending.popleft()
            opened[request.request_id] = _Open(request, clock() - start)
            unfinished.add(request.request_id)
            engine.add(request)
        if not unfinished:
            time.sleep(min(IDLE_SLEEP_S, max(0.0, pending[0].arrival_s - now)))
            continue
        batches = engine.step()
        now = clock() - start
        for batch in batches:
            _book(opened[batch.request_id], batch, now)
            if batch.finished:
                unfinished.discard(batch.request_id)
        if (pending or unfinished) and watch.stops(opened, len(opened) - len(unfinished), now):
            break
    duration_s = clock() - start
    if unfinished:
        engine.abort(sorted(unfinished))
    order = [opened[request.request_id] for request in plan.requests if request.request_id in opened]
    tokens = {state.request.request_id: tuple(state.tokens) for state in order}
    return DrivenWindow(tuple(state.record() for state in order), tokens, duration_s, watch.reason)


class _Watch:
    """Asks `stop` once for every `every` finished requests, and keeps its answer."""

    def __init__(self, stop: Stop | None, every: int) -> None:
        self._stop = stop
        self._every = every
        self._next = every
        self.reason: str | None = None

    def stops(self, opened: dict[str, _Open], finished: int, now_s: float) -> bool:
        if self._stop is None or finished < self._next:
            return False
        self._next = finished + self._every
        self.reason = self._stop([state.record() for state in opened.values()], now_s)
        return self.reason is not None


def _book(state: _Open, batch: TokenBatch, now: float) -> None:
    state.tokens.extend(batch.token_ids)
    state.times_s.extend([now] * len(batch.token_ids))
    state.cached_tokens = max(state.cached_tokens, batch.cached_tokens)
    state.error = batch.error or state.error
    if batch.finished:
        state.finished_s = now
