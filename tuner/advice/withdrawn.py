"""What was published for a question once, and was withdrawn: an answer that takes its place says so, and why."""

from __future__ import annotations

from storage.base import Storage
from storage.records import PublicationState, Recommendation, RecommendationKey
from tuner.advice.lookup import Query, exact_keys
from tuner.core.numbers import utc

_LOOKED_AT = 20  # of the model's withdrawn ones, newest first


def withdrawn_because(storage: Storage, query: Query) -> str | None:
    """The last withdrawal of something published for exactly this question, in words; None where there is none, or no reason was given.
    Raises StorageFault."""
    if query.model is None:
        return None
    found = storage.list_recommendations(model=query.model, publication=PublicationState.WITHDRAWN, limit=_LOOKED_AT)
    asked = [item for item in found if item.published_at is not None and exact_keys(query, [_key(item)])]
    newest = max(asked, key=lambda item: (item.withdrawn_at or 0.0, item.id), default=None)
    why = "" if newest is None else _reason(storage, newest)
    if newest is None or not why:
        return None
    return f"recommendation {newest.id} was withdrawn on {utc(newest.withdrawn_at or 0.0)[:10]}: {why}"


def _reason(storage: Storage, record: Recommendation) -> str:
    for entry in storage.list_audit(kind="recommendation", subject=str(record.id), limit=1):
        return entry.reason if entry.action == "withdraw" else ""
    return ""


def _key(record: Recommendation) -> RecommendationKey:
    """With the workload as the stored answer has it."""
    scope = record.body.get("scope")
    workload = scope.get("workload") if isinstance(scope, dict) else None
    known = workload if isinstance(workload, dict) else {}
    summary = known.get("summary")
    return RecommendationKey(
        id=record.id,
        study_id=record.study_id,
        study="",
        status=record.status,
        model=record.model,
        accelerator=record.accelerator,
        device_count=record.device_count,
        workload_hash=record.workload_hash,
        objective=record.objective,
        created_at=record.created_at,
        published_at=record.published_at,
        model_features={},
        workload_name=str(known.get("name", "")),
        workload_summary=summary if isinstance(summary, dict) else {},
    )
