"""Which stored recommendation answers a question: the exact one, else the nearest, else none. Pure; tuner.advice.advice asks the storage.

- Exact: same model, accelerator generation, device count, workload and objective. Published goes before unpublished, then the newest.
- Nearest (tuner.advice.distance): same generation and device count only, same objective, up to a distance of NEAR.
- SLOs: what the study was asked to keep counts as met. Any other SLO counts as met only where the measured interval meets it on both ends;
  so a recommendation without SLOs answers a question with one only by its measurements. What meets fewer is not an answer.
- Stale: other versions now, contradicted by newer evidence for the same question, or too old.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from storage.records import Environment, Json, Recommendation, RecommendationKey
from tuner.advice.distance import NEAR, Features, Part, model_parts, norm, workload_features, workload_parts
from tuner.core.errors import BadInput
from tuner.metrics.objective import Slo, parse_objectives, parse_slo
from tuner.setup.hardware import Hardware, hardware_of
from tuner.verdict.recommend import STATUS_NONE, stale_reasons

MAX_AGE_S = 90 * 24 * 3600.0


@dataclass(frozen=True)
class Query:
    """What is asked; None is "whatever there is". `versions`: package -> version in use now. Times: Unix seconds."""

    model: str | None = None
    model_features: Features | None = None  # distance.MODEL_FEATURES
    accelerator: str | None = None
    device_count: int | None = None
    workload: str | None = None  # name or content hash
    workload_features: Features | None = None  # distance.WORKLOAD_FEATURES
    objective: str | None = None
    slos: tuple[Slo, ...] = ()
    now: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    max_age_s: float = MAX_AGE_S

    @property
    def hardware(self) -> Hardware | None:
        return None if self.accelerator is None else hardware_of(self.accelerator, self.device_count)


@dataclass(frozen=True)
class Near:
    """A recommendation of something else, and how far it is."""

    key: RecommendationKey
    distance: float
    parts: Mapping[str, Part]


@dataclass(frozen=True)
class Standing:
    """How a recommendation stands to the SLOs asked for: `same` set, or what has to be said about the difference. `failing`: not met."""

    same: bool
    notes: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()


def exact_keys(query: Query, keys: Iterable[RecommendationKey]) -> list[RecommendationKey]:
    """Those that are about exactly what is asked, in the order of `keys`."""
    if query.model is None:
        return []
    return [key for key in keys if key.model == query.model and _same_workload(query, key) and _comparable(query, key)]


def nearest_keys(query: Query, keys: Iterable[RecommendationKey]) -> list[Near]:
    """All that are comparable, nearest first, among equals published and newest first; also those beyond NEAR.

    Empty where the question names no accelerator with a device count, or neither features of a model nor a model.
    """
    hardware = query.hardware
    if hardware is None or not hardware.is_one_machine:
        return []
    found = [_near(query, key) for key in keys if key.status != STATUS_NONE and _comparable(query, key)]
    return sorted(
        (item for item in found if math.isfinite(item.distance)),
        key=lambda item: (item.distance, item.key.published_at is None, -item.key.created_at, -item.key.id),
    )


def slo_standing(body: Json, slos: Sequence[Slo]) -> Standing:
    """`body` of a recommendation that has settings."""
    kept = [slo for slo in _kept(body) if slo is not None]
    notes, failing = [], []
    for slo in slos:
        low, high = _interval(body, slo.metric)
        by_interval = low is not None and high is not None and slo.is_met(low) and slo.is_met(high)
        span = "was not measured" if low is None or high is None else f"was {low:.4g} to {high:.4g} (95 %)"
        if any(_implies(other, slo) for other in kept):
            if low is not None and high is not None and not by_interval:
                notes.append(f"{slo} was kept by the median; {slo.metric} {span}")
        elif by_interval:
            notes.append(f"{slo} was not asked of the study; its measurements meet it: {slo.metric} {span}")
        else:
            failing.append(f"{slo} is not shown to be met: {slo.metric} {span}")
    extra = [str(slo) for slo in kept if not any(_implies(asked, slo) for asked in slos)]
    if extra:
        notes.append(f"chosen under {', '.join(extra)}, which was not asked for; without it other settings may be better")
    return Standing(set(kept) == set(slos), tuple(notes), tuple(failing))


def best_exact(query: Query, found: Sequence[Recommendation]) -> Recommendation | None:
    """Of those that meet the SLOs: settings before none, the very SLOs before met ones, published before unpublished, the newest.

    A recommendation of status none answers only where its study asked for no more than this question does.
    """
    fit = []
    for item in found:
        if item.withdrawn_at is not None:
            continue
        if item.status == STATUS_NONE:
            if all(slo is not None and any(_implies(asked, slo) for asked in query.slos) for slo in _kept(item.body)):
                fit.append((False, True, item))
        elif not (standing := slo_standing(item.body, query.slos)).failing:
            fit.append((True, standing.same, item))
    return max(fit, key=lambda entry: (*entry[:2], entry[2].published_at is not None, entry[2].created_at, entry[2].id), default=(None,))[
        -1
    ]


def stale(query: Query, chosen: Recommendation, rivals: Iterable[Recommendation]) -> list[str]:
    """Why `chosen` should be measured again. `rivals`: others for the same model, accelerator, workload and objective, older ones too."""
    scope = chosen.body.get("scope", {})
    here = Environment("", scope.get("platform"), scope.get("accelerator"), scope.get("device_count"), dict(query.versions))
    reasons = stale_reasons(scope, here)
    for rival in rivals:
        newer = (rival.created_at, rival.id) > (chosen.created_at, chosen.id) and rival.withdrawn_at is None
        if newer and rival.study_id != chosen.study_id and set(rival.body.get("slos", ())) == set(chosen.body.get("slos", ())):
            difference = _contradiction(chosen.body, rival)
            if difference:
                reasons.append(
                    f"newer evidence disagrees: study {rival.body.get('evidence', {}).get('study', rival.study_id)} {difference}"
                )
    age_s = query.now - chosen.created_at
    if age_s > query.max_age_s:
        reasons.append(f"measured {age_s / 86400:.0f} days ago, at most {query.max_age_s / 86400:.0f} are trusted")
    return reasons


def same_question(key: RecommendationKey, other: RecommendationKey) -> bool:
    """Whether two recommendations are about the same model, hardware, workload and objective."""
    return (
        (key.model, key.workload_hash) == (other.model, other.workload_hash)
        and _hardware_of(key) == _hardware_of(other)
        and _metrics(key.objective) == _metrics(other.objective)
    )


def beyond(found: Sequence[Near]) -> str:
    """Why nothing is near, in words."""
    if not found:
        return "no study with comparable model, workload, objective and the same accelerator generation and device count is stored"
    nearest = found[0]
    worst = sorted(nearest.parts.items(), key=lambda entry: -entry[1].distance)[:2]
    parts = ", ".join(f"{name} {part.asked} against {part.measured}" for name, part in worst)
    return f"the nearest study ({nearest.key.study}) is {nearest.distance:.2f} away, further than {NEAR:g}: {parts}"


def _near(query: Query, key: RecommendationKey) -> Near:
    parts: dict[str, Part] = {}
    if query.model_features is not None:
        parts |= model_parts(query.model_features, key.model_features)
    elif query.model != key.model:
        return Near(key, math.inf, parts)
    if query.workload_features is not None:
        parts |= workload_parts(query.workload_features, workload_features(key.workload_summary))
    elif not _same_workload(query, key):
        return Near(key, math.inf, parts)
    return Near(key, norm(parts), parts)


def _comparable(query: Query, key: RecommendationKey) -> bool:
    asked, measured = query.hardware, _hardware_of(key)
    if asked is not None and asked.name != measured.name:
        return False
    count = query.device_count if asked is None else asked.device_count
    if count not in (None, measured.device_count):
        return False
    return query.objective is None or _metrics(query.objective) == _metrics(key.objective)


def _hardware_of(key: RecommendationKey) -> Hardware:
    return hardware_of(key.accelerator, key.device_count)


def _same_workload(query: Query, key: RecommendationKey) -> bool:
    if query.workload is None:
        return query.workload_features is None or norm(_workload_parts_of(query, key)) == 0
    return query.workload in (key.workload_hash, key.workload_name)


def _workload_parts_of(query: Query, key: RecommendationKey) -> dict[str, Part]:
    return workload_parts(query.workload_features or {}, workload_features(key.workload_summary))


@lru_cache
def _metrics(objective: str) -> tuple[str, ...]:
    """An objective that another version of the tuner knew stands for itself."""
    try:
        return tuple(item.metric for item in parse_objectives(objective))
    except BadInput:
        return (objective,)


def _interval(body: Json, metric: str) -> tuple[float | None, float | None]:
    measured: dict[str, Any] = body.get("expected", {}).get(metric, {})
    return measured.get("low"), measured.get("high")


def _kept(body: Json) -> list[Slo | None]:
    """What the study kept to; None for an SLO that an older version took and this one refuses: nobody can ask for it."""
    found: list[Slo | None] = []
    for text in body.get("slos", ()):
        try:
            found.append(parse_slo(text))
        except BadInput:
            found.append(None)
    return found


def _implies(kept: Slo, asked: Slo) -> bool:
    """Whether keeping the one means keeping the other."""
    if kept.metric != asked.metric or kept.operator[0] != asked.operator[0]:
        return False
    if kept.limit == asked.limit:
        return kept.operator == asked.operator or len(asked.operator) > 1
    return kept.limit < asked.limit if asked.operator.startswith("<") else kept.limit > asked.limit


def _contradiction(body: Json, rival: Recommendation) -> str | None:
    if rival.status == STATUS_NONE:
        return f"recommends nothing ({rival.body.get('reason', 'no reason given')})"
    was, now = body.get("settings", {}), rival.body.get("settings", {})
    changed = [f"{name} {now[name]} instead of {was[name]}" for name in was if name in now and now[name] != was[name]]
    if changed:
        return "recommends " + ", ".join(changed)
    verdicts = [(item.get("evidence", {}).get("arms") or {}).get("verdict") for item in (body, rival.body)]
    if set(verdicts) == {"better", "worse"}:
        return f"finds page alignment {verdicts[1]}, not {verdicts[0]}"
    return None
