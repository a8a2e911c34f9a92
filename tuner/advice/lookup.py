"""Which stored recommendation answers a question: the exact one, else the nearest, else none. Pure; tuner.advice.advice asks the storage.

- Exact: same model, accelerator generation, device count, workload and objective. Published goes before unpublished, then the best of what
  meets the SLOs of the question, then the newest. A question that leaves something open is about one thing all the same (`questions`).
- Nearest (tuner.advice.distance): same generation and device count only, same objective, up to a distance of NEAR.
- SLOs: see tuner.advice.standing. What does not meet all of them is not an answer.
- Stale: other versions now, contradicted by newer evidence for the same question under its SLOs, or too old.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from storage.records import Recommendation, RecommendationKey
from tuner.advice.distance import NEAR, Features, Part, model_parts, norm, workload_features, workload_parts
from tuner.advice.standing import implies, slo_standing, slos_kept
from tuner.core.contrast import Contrast
from tuner.core.errors import BadInput
from tuner.core.factors import Level
from tuner.metrics.objective import DEFAULT_OBJECTIVE, Slo, parse_objectives
from tuner.setup.hardware import Hardware, hardware_of
from tuner.verdict.answer import STATUS_NONE, Answer, answer_of, readable_answers

MAX_AGE_S = 90 * 24 * 3600.0
STALE_PACKAGES = ("vllm", "vllm_tpu", "tpu_inference", "jax", "jaxlib", "libtpu")


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
class Found:
    """A stored recommendation and the answer that it is, which knows how it stands to the SLOs of the question (`standing`)."""

    record: Recommendation
    answer: Answer


def found_for(query: Query, record: Recommendation) -> Found:
    """Raises BadInput for a damaged one."""
    return _found(query, record, answer_of(record))


def all_found(query: Query, records: Sequence[Recommendation]) -> list[Found]:
    """Without damaged ones."""
    return [_found(query, record, answer) for record, answer in readable_answers(records)]


def _found(query: Query, record: Recommendation, answer: Answer) -> Found:
    return Found(record, answer if answer.status == STATUS_NONE else answer.under(slo_standing(answer, query.slos)))


def exact_keys(query: Query, keys: Iterable[RecommendationKey]) -> list[RecommendationKey]:
    """Those that are about exactly what is asked, in the order of `keys`."""
    if query.model is None:
        return []
    return [key for key in keys if key.model == query.model and _same_workload(query, key) and _comparable(query, key)]


def questions(query: Query, keys: Sequence[RecommendationKey]) -> list[list[RecommendationKey]]:
    """`keys` apart by what they answer, because values of another accelerator, workload or objective say nothing about these. The one with
    a published answer comes first, then the one with the newest. Who names no objective means the default one, where that was measured."""
    ordered = sorted(keys, key=lambda key: (key.published_at is None, -key.created_at, -key.id))
    groups: list[list[RecommendationKey]] = []
    for key in ordered:
        group = next((group for group in groups if same_question(group[0], key)), None)
        if group is None:
            groups.append([key])
        else:
            group.append(key)
    return [group for group in groups if _meant(query, group[0], keys)]


def _meant(query: Query, key: RecommendationKey, keys: Iterable[RecommendationKey]) -> bool:
    default = _metrics(DEFAULT_OBJECTIVE)
    return query.objective is not None or _metrics(key.objective) == default or all(_metrics(item.objective) != default for item in keys)


def nearest_keys(query: Query, keys: Iterable[RecommendationKey]) -> list[Near]:
    """All that are comparable, also beyond NEAR: nearest first; of equally near ones published before unpublished, newer before older.

    Empty where the question names no accelerator with a device count, or neither features of a model nor a model.
    """
    hardware = query.hardware
    if hardware is None or not hardware.is_one_machine:
        return []
    comparable = [key for key in keys if key.status != STATUS_NONE and _comparable(query, key)]
    found = [_near(query, key) for key in comparable if _meant(query, key, comparable)]
    return sorted(
        (item for item in found if math.isfinite(item.distance)),
        key=lambda item: (item.distance, item.key.published_at is None, -item.key.created_at, -item.key.id),
    )


def best_exact(query: Query, found: Sequence[Found]) -> Found | None:
    """The first of those that meet the SLOs, in this order: one with settings before status none, published before unpublished; where SLOs
    are asked for, the better value of the objective; chosen under the very same SLOs before others; newer before older.

    An answer of status none answers only where its study asked for no more than this question does. `found` are of one question.
    """
    fit = [item for item in found if item.record.withdrawn_at is None and _fits(query, item)]

    def rank(item: Found) -> tuple[bool, bool, float, bool, float, int]:
        standing, record = item.answer.standing, item.record
        same = standing is None or standing.same
        return standing is not None, record.published_at is not None, _worth(query, item), same, record.created_at, record.id

    return max(fit, key=rank, default=None)


def _fits(query: Query, item: Found) -> bool:
    standing = item.answer.standing
    if standing is not None:
        return not standing.failing
    return all(slo is not None and any(implies(asked, slo) for asked in query.slos) for slo in slos_kept(item.answer))


def _worth(query: Query, item: Found) -> float:
    """The first objective's expected value, more being better; the same for all where no SLO is asked for: then the newest counts."""
    if not query.slos or item.answer.status == STATUS_NONE:
        return 0.0
    try:
        objective = parse_objectives(item.record.objective)[0]
    except BadInput:
        return -math.inf
    value = item.answer.expected.get(objective.metric, {}).get("value")
    return -math.inf if value is None else objective.direction.sign * value


def stale(query: Query, chosen: Found, rivals: Iterable[Found]) -> list[str]:
    """Why `chosen` should be measured again. `rivals`: others for the same model, accelerator, workload and objective, older ones too.
    Those that miss an SLO of the question contradict nothing."""
    record = chosen.record
    reasons = other_versions(chosen.answer.scope.get("versions", {}), query.versions)
    for rival in rivals:
        newer = (rival.record.created_at, rival.record.id) > (record.created_at, record.id) and rival.record.withdrawn_at is None
        misses = rival.answer.standing is not None and bool(rival.answer.standing.failing)
        if newer and not misses and rival.record.study_id != record.study_id and set(rival.answer.slos) == set(chosen.answer.slos):
            difference = _contradiction(chosen.answer, rival.answer)
            if difference:
                study = rival.answer.evidence.get("study", rival.record.study_id)
                reasons.append(f"newer evidence disagrees: study {study} {difference}")
    age_s = query.now - record.created_at
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
    """A name with other lengths or another load than were measured under it is another workload."""
    parts = workload_parts(query.workload_features or {}, workload_features(key.workload_summary))
    if query.workload is None:
        return query.workload_features is None or norm(parts) == 0
    as_said = all(part.distance == 0 for part in parts.values() if part.asked is not None)
    return as_said and query.workload in (key.workload_hash, key.workload_name)


@lru_cache
def _metrics(objective: str) -> tuple[str, ...]:
    """An objective that another version of the tuner knew stands for itself."""
    try:
        return tuple(item.metric for item in parse_objectives(objective))
    except BadInput:
        return (objective,)


def other_versions(measured: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """Packages that set how fast an engine is, and have another version than the evidence. Unknown is not different."""
    both = [name for name in STALE_PACKAGES if measured.get(name) is not None and name in now]
    return [f"{name} was {measured[name]}, is {now[name]}" for name in both if measured[name] != now[name]]


def _contradiction(answer: Answer, rival: Answer) -> str | None:
    if rival.status == STATUS_NONE:
        return f"recommends nothing ({rival.reason or 'no reason given'})"
    was, now = dict(answer.settings), dict(rival.settings)
    changed = [f"{name} {now[name]} instead of {was[name]}" for name in was if name in now and now[name] != was[name]]
    if changed:
        return "recommends " + ", ".join(changed)
    verdicts = [(item.evidence.get("arms") or {}).get("verdict") for item in (answer, rival)]
    if set(verdicts) == {"better", "worse"}:
        return f"finds page alignment {verdicts[1]}, not {verdicts[0]}"
    ours, theirs = (_compared_verdicts(item) for item in (answer, rival))
    turned = (what for what in ours if {ours[what], theirs.get(what)} == {"better", "worse"})
    return next(
        (f"finds {contrast.words(level)} {theirs[contrast, level]}, not {ours[contrast, level]}" for contrast, level in turned), None
    )


def _compared_verdicts(answer: Answer) -> dict[tuple[Contrast, Level], str]:
    """Of each other level of the factor that its study compares."""
    compared = answer.evidence.get("compared")
    if compared is None:
        return {}
    contrast = Contrast(compared["factor"], compared["baseline"])
    return {(contrast, item["level"]): item["verdict"] for item in compared["levels"]}
