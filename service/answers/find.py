"""Finds the answer to a question that came over HTTP (by tuner.advice.advice), adds links, and says whether the client accepts it."""

from __future__ import annotations

import time
from functools import cache

from service.schemas.common import with_moments
from service.schemas.recommendations import Accept, Answer, RecommendationQuery
from service.web.settings import ServiceSettings
from storage.base import Storage
from tuner.advice.advice import advise
from tuner.advice.lookup import Query
from tuner.advice.predicted import or_predicted
from tuner.engine.environment import versions
from tuner.metrics.objective import parse_objectives, parse_slo
from tuner.verdict import answer
from tuner.verdict.answer import STATUS_NONE, STATUS_PREDICTED

_DAY_S = 24 * 3600.0
_STRENGTH: dict[answer.MatchKind, int] = {"exact": 3, "nearest": 2, "none": 0}
_PREDICTED = 1
_LEAST: dict[Accept, int] = {"exact": 3, "nearest": 2, "predicted": _PREDICTED, "default": 0}


def find_answer(storage: Storage, asked: RecommendationQuery, settings: ServiceSettings, *, predicted: bool = False) -> Answer:
    """The answer, with links to the recommendation that it comes from. `predicted`: what was simulated will do where nothing was measured.
    Raises BadInput, StorageFault."""
    query = _query(asked, settings)
    found = advise(storage, query)
    return linked(or_predicted(storage, query, found) if predicted else found)


def refused_because(found: Answer, accept: Accept) -> str | None:
    """Why an answer is weaker than what the client accepts, None where it is not. An answer without a recommendation is never accepted."""
    kind = found.match["kind"]
    if found.status == STATUS_NONE:
        return f"nothing is recommended: {found.reason}"
    if (_PREDICTED if found.status == STATUS_PREDICTED else _STRENGTH[kind]) >= _LEAST[accept]:
        return None
    if kind == "nearest":
        return f"nothing was measured for exactly this; the nearest is {found.match['distance']:.2f} away: take it with accept=nearest"
    unpredicted = [] if found.prediction is None else [f"no prediction: {found.prediction.get('reason')}"]
    return "; ".join([found.reason, *unpredicted, "take them with accept=default"])


def linked(found: answer.Answer) -> Answer:
    """The answer with a link to its stored recommendation, and one to its settings where they were measured for exactly this question."""
    links = {}
    if found.id is not None:
        links["self"] = f"/v1/recommendations/{found.id}"
        if found.match["kind"] == "exact" and found.status != STATUS_NONE:
            links["config"] = f"{links['self']}/config"
    document = with_moments(found.to_json(), ("created_at", "published_at", "withdrawn_at"))
    return Answer.model_validate({**document, "links": links})


def _query(asked: RecommendationQuery, settings: ServiceSettings) -> Query:
    features = {
        "input_p50": asked.input_tokens,
        "output_p50": asked.output_tokens,
        "request_rate": asked.request_rate,
        "max_concurrency": asked.max_concurrency,
        "prefix_share": asked.prefix_share,
    }
    given = {name: value for name, value in features.items() if value is not None}
    days = asked.max_age_days if asked.max_age_days is not None else settings.max_age_days
    return Query(
        model=asked.model,
        model_features=asked.features(),
        accelerator=asked.accelerator,
        device_count=asked.device_count,
        workload=asked.workload,
        workload_features=given or None,
        objective=None if asked.objective is None else _once(asked.objective),
        slos=tuple(parse_slo(text) for text in asked.slo),
        now=time.time(),
        versions=dict(item.split("=", 1) for item in asked.version) or _versions(),
        max_age_s=days * _DAY_S,
    )


@cache
def _versions() -> dict[str, str]:
    """Of this Python: they do not change while it runs."""
    return versions()


def _once(objective: str) -> str:
    """Each metric once, as tuner.metrics.objective wants it."""
    return ",".join({parse_objectives(name)[0].metric: name for name in objective.split(",")}.values())
