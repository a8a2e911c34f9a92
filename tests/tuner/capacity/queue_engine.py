"""A launcher whose engine is a queue: each request is served in its turn by one of several servers. What goes wrong is what a test says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heapreplace
from typing import override

from tests.tuner.fake_engine import FOUND
from tuner.core.contract import (
    Answered,
    EngineSession,
    EngineSettings,
    Json,
    LiveSettings,
    LoadPlan,
    ProfileResult,
    ProfileTarget,
    RequestRecord,
    StartReport,
    WindowResult,
)
from tuner.engine.environment import fingerprint
from tuner.workload.saturation import saturation

FIRST_TOKEN_S = 0.001  # after a server is free

type Change = Callable[[WindowResult, LoadPlan, int], WindowResult]


@dataclass
class QueueLauncher:
    """`servers` requests at once, `service_s` on average each (exponential). `change(window, plan, nth)` may raise, or change a window;
    windows count from 0 over all engines."""

    servers: int = 4
    service_s: float = 0.1
    change: Change | None = None
    answers: Callable[[LiveSettings, LoadPlan], Sequence[Answered]] | None = None  # to canaries
    versions: str = "0"
    name: str = "local"
    live_fields: frozenset[str] = frozenset({"arm", "max_num_batched_tokens", "max_num_seqs"})
    rates: list[float] = field(default_factory=list)  # requests/s of each window
    opened: list[EngineSettings] = field(default_factory=list)
    running: int = 0

    @property
    def served_at_most(self) -> float:
        return self.servers / self.service_s

    def open(self, settings: EngineSettings, timeout_s: float) -> QueueSession:
        self.opened.append(settings)
        self.running += 1
        return QueueSession(self, settings)

    def close(self) -> None: ...


class QueueSession(EngineSession):
    def __init__(self, launcher: QueueLauncher, settings: EngineSettings) -> None:
        self._launcher = launcher
        self._settings = settings
        self._open = True
        self.generates = launcher.answers is not None

    @property
    @override
    def report(self) -> StartReport:
        settings = self._settings
        found = FOUND | {"versions": {"vllm": self._launcher.versions}}
        effective = {"block_size": settings.block_size, "max_num_batched_tokens": settings.max_num_batched_tokens}
        return StartReport(effective, {"fingerprint": fingerprint(found), **found}, 0.0)

    @override
    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        return {"seconds": 0.0, "compilations": 0}

    @override
    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        launcher = self._launcher
        nth = len(launcher.rates)
        launcher.rates.append(len(plan.requests) / max(plan.last_arrival_s, 1e-9))
        window = _served(plan, launcher, random.Random(nth))
        return window if launcher.change is None else launcher.change(window, plan, nth)

    @override
    def answer(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Sequence[Answered]:
        return () if self._launcher.answers is None else self._launcher.answers(live, plan)

    @property
    @override
    def profile_phases(self) -> tuple[str, ...]:
        return ()

    @override
    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        return ()

    @override
    def close(self) -> None:
        if self._open:
            self._open = False
            self._launcher.running -= 1


def _served(plan: LoadPlan, launcher: QueueLauncher, rng: random.Random) -> WindowResult:
    """The first token comes soon after a server is free, the last when it is done."""
    free = [0.0] * launcher.servers
    heapify(free)
    records = []
    turns = [0.0] * (plan.max_concurrency or 0)  # when each of those that are there at once ends
    for request in sorted(plan.requests, key=lambda item: item.arrival_s):
        arrived = turns[0] if turns else request.arrival_s
        begun = max(arrived, free[0])
        done = begun + FIRST_TOKEN_S + rng.expovariate(1 / launcher.service_s)
        heapreplace(free, done)
        if turns:
            heapreplace(turns, done)
        records.append(
            RequestRecord(request.request_id, len(request.prompt_token_ids), arrived, arrived, (begun + FIRST_TOKEN_S, done), done)
        )
    end = max(record.finished_s or 0.0 for record in records)
    window = WindowResult(tuple(records), (), time.time(), end)
    if plan.stop_when_saturated and (reason := saturation(records, plan.last_arrival_s)):
        return replace(window, stopped=reason)
    return window
