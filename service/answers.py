"""From a question over HTTP to the one answer of tuner.advice."""

from __future__ import annotations

import time
from functools import cache

from service.schemas.recommendations import RecommendationQuery
from service.settings import ServiceSettings
from storage.base import Storage
from storage.records import Json
from tuner.advice import advise
from tuner.engine.environment import versions
from tuner.lookup import MAX_AGE_S, Query
from tuner.objective import parse_slo
from tuner.recommend import STATUS_NONE

_DAY_S = 24 * 3600.0


def find_answer(storage: Storage, query: RecommendationQuery, _settings: ServiceSettings) -> Json:
    """Exact, else nearest, else vLLM's default, else none. Raises BadInput for an unknown objective or an SLO that cannot be read."""
    answer = advise(storage, _question(query))
    links = {}
    if answer["id"] is not None:
        links["self"] = f"/v1/recommendations/{answer['id']}"
        if answer["status"] != STATUS_NONE and answer["match"]["kind"] == "exact":
            links["config"] = f"/v1/recommendations/{answer['id']}/config"  # a near one's file would name the other model
    return {**answer, "links": links}


def _question(query: RecommendationQuery) -> Query:
    features = {
        "input_p50": query.input_tokens,
        "output_p50": query.output_tokens,
        "request_rate": query.request_rate,
        "max_concurrency": query.max_concurrency,
        "prefix_share": query.prefix_share,
    }
    given = {name: value for name, value in features.items() if value is not None}
    return Query(
        model=query.model,
        accelerator=query.accelerator,
        device_count=query.device_count,
        workload=query.workload,
        workload_features=given or None,
        objective=query.objective,
        slos=tuple(parse_slo(text) for text in query.slo),
        now=time.time(),
        versions=_versions(),
        max_age_s=MAX_AGE_S if query.max_age_days is None else query.max_age_days * _DAY_S,
    )


@cache
def _versions() -> dict[str, str]:
    """Of this Python: they do not change while it runs."""
    return versions()
