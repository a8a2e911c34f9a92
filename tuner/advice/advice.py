"""The one door to recommendations: a question in, one answer out. Reads few rows, whatever else is stored; tuner.advice.lookup decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from storage.base import NotFound, Storage
from storage.records import RecommendationKey, TrialState
from tuner.advice.answer import default_answer, exact_answer, nearest_answer, unmet_answer
from tuner.advice.distance import LOADS, MODEL_FEATURES, MODEL_REQUIRED, NEAR, WORKLOAD_FEATURES, checked_features, workload_features
from tuner.advice.lookup import Found, Near, Query, all_found, best_exact, beyond, exact_keys, nearest_keys, questions, same_question, stale
from tuner.advice.withdrawn import withdrawn_because
from tuner.core.factors import cell_of, in_arm
from tuner.metrics.objective import parse_objectives
from tuner.setup.hardware import spellings
from tuner.verdict.answer import STATUS_NONE, Answer
from tuner.verdict.evidence import wrong_answers
from tuner.workload.builtin import BUILTIN
from tuner.workload.spec import WorkloadSpec

_BODIES = 20  # of one question; older ones are neither the answer nor a contradiction of a newer one
_BODIES_UNDER_SLOS = 100  # the best of those that meet them may be older
_QUESTIONS = 5  # that one with open parts may mean
_TRIED = 5  # of the nearest


def advise(storage: Storage, query: Query) -> Answer:
    """The answer to `query`; where what was published for it is withdrawn, it says why. Raises BadInput for impossible features or an
    unknown objective, StorageFault."""
    _check(query)
    answer = _answered(storage, query)
    why = None if answer.published_at is not None else withdrawn_because(storage, query)
    if why is None:
        return answer
    if answer.status == STATUS_NONE or answer.match["kind"] == "none":
        return answer.changed(reason=f"{answer.reason}; {why}")
    return answer.changed(caveats=[*answer.caveats, why])


def _answered(storage: Storage, query: Query) -> Answer:
    keys = [] if query.model is None else _keys(storage, query, query.model)
    nothing: tuple[Found, list[Found]] | None = None  # an answer of status none, with its rivals
    unmet: Found | None = None
    for asked in questions(query, exact_keys(query, keys))[:_QUESTIONS]:
        found = _read(storage, query, asked)
        chosen = _best_exact(storage, query, found)
        if chosen is not None and chosen.answer.status != STATUS_NONE:
            return exact_answer(query, chosen, stale(query, chosen, found))
        measured = next((item for item in found if item.answer.status != STATUS_NONE), None)
        unmet = unmet or measured
        if chosen is not None and measured is None:
            nothing = nothing or (chosen, found)
    if unmet is not None:
        return unmet_answer(query, unmet)
    if nothing is not None:
        return exact_answer(query, nothing[0], stale(query, *nothing))
    return _nearest(storage, _described(storage, query, keys))


def _best_exact(storage: Storage, query: Query, found: list[Found]) -> Found | None:
    """best_exact, of those whose configuration has not answered wrongly since; the others are taken out of `found`."""
    while (chosen := best_exact(query, found)) is not None and _answered_wrong(storage, chosen):
        found.remove(chosen)
    return chosen


def _answered_wrong(storage: Storage, found: Found) -> bool:
    """Whether its study, taken up again, has seen the configuration fail the guard on answers."""
    settings = found.answer.settings
    if found.answer.status == STATUS_NONE or not settings:
        return False
    failed = storage.list_trials(found.record.study_id, state=TrialState.FAIL)
    cell = cell_of(settings.get("block_size", 0), settings.get("max_num_batched_tokens", 0), found.answer.factors)
    return in_arm(settings.get("arm", ""), cell) in wrong_answers(failed)


def _nearest(storage: Storage, query: Query) -> Answer:
    keys = _keys(storage, query, None)
    query = _with_workload_of(storage, query, keys)
    near = nearest_keys(query, keys)
    within = [item for item in near if item.distance <= NEAR][:_TRIED]
    candidates = {item.record.id: item for item in all_found(query, storage.get_recommendations([item.key.id for item in within]))}
    for item in within:
        chosen = candidates.get(item.key.id)
        if chosen is not None and _answered_wrong(storage, chosen):
            continue
        if chosen is not None and chosen.answer.standing is not None and not chosen.answer.standing.failing:
            rivals = _read(storage, query, [key for key in keys if same_question(key, item.key)])
            return nearest_answer(query, chosen, item, stale(query, chosen, rivals))
    return default_answer(query, _why_nothing(query, near))


def _why_nothing(query: Query, near: Sequence[Near]) -> str:
    if query.workload is not None and query.workload_features is None:
        known = ", ".join(BUILTIN)
        return f"workload {query.workload!r} is unknown here; name a measured one or one of {known}, or give lengths and load (REST, page)"
    missing = [] if query.model_features is None else [name for name in MODEL_REQUIRED if query.model_features.get(name) is None]
    if missing:
        return f"the architecture that is given lacks {', '.join(missing)}"
    if query.model_features is None and query.model is not None:
        return f"model {query.model!r} was not measured for this question and its features are unknown; give its architecture"
    if query.hardware is None or not query.hardware.is_one_machine:
        return "nothing was measured for this question; name the accelerator and its device count to have near evidence looked at"
    if near and near[0].distance <= NEAR:
        return "what is near is not shown to meet the SLO"
    return beyond(near)


def _check(query: Query) -> None:
    if query.objective is not None:
        parse_objectives(query.objective)
    checked_features(query.model_features or {}, MODEL_FEATURES, "model")
    checked_features(query.workload_features or {}, WORKLOAD_FEATURES, "workload")


def _keys(storage: Storage, query: Query, model: str | None) -> Sequence[RecommendationKey]:
    """Of one model, or of all on one kind of hardware; nothing where neither is named."""
    hardware = query.hardware
    names = None if hardware is None else spellings(hardware)
    if model is None and names is None:
        return []
    return storage.list_recommendation_keys(model=model, accelerators=names, device_count=hardware.device_count if hardware else None)


def _read(storage: Storage, query: Query, keys: Sequence[RecommendationKey]) -> list[Found]:
    """Published ones first, so that the limit never hides them; one that was deleted meanwhile is left out."""
    ordered = sorted(keys, key=lambda key: (key.published_at is None, -key.created_at, -key.id))
    most = _BODIES_UNDER_SLOS if query.slos else _BODIES
    return all_found(query, storage.get_recommendations([key.id for key in ordered[:most]]))


def _described(storage: Storage, query: Query, keys: Sequence[RecommendationKey]) -> Query:
    """With the model's features where a stored study knows them and the question does not give them."""
    if query.model is None or query.model_features is not None:
        return query
    known = next((key.model_features for key in keys if key.model_features), None)
    if known is None:
        known = next((study.model_features for study in storage.list_studies(model=query.model, limit=5) if study.model_features), None)
    return replace(query, model_features=known)


def _with_workload_of(storage: Storage, query: Query, keys: Sequence[RecommendationKey]) -> Query:
    """With the named workload's features: of the stored one, else of the built-in one. What the question says itself goes before them."""
    named = None if query.workload is None else _named_features(storage, query.workload, keys)
    if named is None:
        return query
    given = query.workload_features or {}
    if any(name in given for name in LOADS):  # a load of either kind takes the place of the named one's
        named = {name: value for name, value in named.items() if name not in LOADS}
    return replace(query, workload_features={**named, **given})


def _named_features(storage: Storage, workload: str, keys: Sequence[RecommendationKey]) -> dict[str, Any] | None:
    for key in keys:
        if workload in (key.workload_hash, key.workload_name):
            return workload_features(key.workload_summary)
    if workload in BUILTIN:
        return builtin_features(workload)
    try:
        return workload_features(storage.get_workload(workload).summary)
    except NotFound:
        return None


@lru_cache
def builtin_features(name: str) -> dict[str, Any]:
    """Of a built-in workload, measured on its plan; lengths and load do not depend on the vocabulary."""
    spec = WorkloadSpec.parse(name)
    return workload_features(spec.summary(spec.plan(vocab_size=32_000, max_model_len=1 << 20)))
