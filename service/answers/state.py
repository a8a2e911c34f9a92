"""What one process keeps between requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from service.answers.cache import AnswerCache
from service.answers.finished import FinishedStudies
from service.answers.study_metrics import StudyCollector
from service.schemas.history import WithReason
from service.web.auth import KnownToken
from service.web.caching import Snapshot
from service.web.event_stream import Streams
from service.web.metrics import Metrics
from service.web.settings import ServiceSettings
from storage.base import Storage
from storage.records import Actor
from tuner.verdict.compare import StudyComparison

_MOST_ANSWERS = 4096
_MOST_JUDGED = 32
_LOOK_FOR_DAMAGE_S = 60.0
log = structlog.get_logger("tuner.service")


@dataclass
class ServiceState:
    """`version` changes whenever a stored recommendation changes, in this process or another one. `damage`: of the database file."""

    version: Snapshot[object]
    damage: Snapshot[str | None]
    tokens: Snapshot[Sequence[KnownToken]]
    answers: AnswerCache
    judged: FinishedStudies[StudyComparison]
    metrics: Metrics
    streams: Streams


def make_state(settings: ServiceSettings, storage: Storage) -> ServiceState:
    def known_tokens() -> Sequence[KnownToken]:
        now = time.time()
        return [KnownToken(item.name, item.digest, frozenset(item.scopes)) for item in storage.list_tokens() if item.in_force(now)]

    async def version() -> object:
        return await run_in_threadpool(storage.recommendations_version)

    async def tokens() -> Sequence[KnownToken]:
        return await run_in_threadpool(known_tokens)

    async def damage() -> str | None:
        found = await run_in_threadpool(storage.damage)
        if found is not None:
            log.error("database_damaged", reason=found)
        return found

    metrics = Metrics()
    metrics.register(StudyCollector(storage))
    return ServiceState(
        version=Snapshot(version, settings.refresh_s),
        damage=Snapshot(damage, _LOOK_FOR_DAMAGE_S),
        tokens=Snapshot(tokens, settings.refresh_s),
        answers=AnswerCache(_MOST_ANSWERS, metrics),
        judged=FinishedStudies(_MOST_JUDGED),
        metrics=metrics,
        streams=Streams(),
    )


def actor_of(request: Request, mark: WithReason | None) -> Actor:
    """Who writes, for the audit trail: the token that the gate has found."""
    state = request.scope["state"]
    return Actor(state["token_name"], mark.reason if mark is not None else "", state.get("request_id"))


def state_of(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state
