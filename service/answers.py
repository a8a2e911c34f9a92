"""From a question to the one answer, out of storage."""

from __future__ import annotations

from service.schemas.recommendations import RecommendationQuery, answer_of
from service.settings import ServiceSettings
from storage.base import Storage
from storage.records import Json


def find_answer(storage: Storage, query: RecommendationQuery, _settings: ServiceSettings) -> Json:
    """The newest stored one that matches, else status "none" with the reason."""
    for found in storage.list_recommendations(model=query.model, accelerator=query.accelerator):
        workload = found.body.get("scope", {}).get("workload") or {}
        if query.workload in (None, found.workload_hash, workload.get("name")):
            return answer_of(found)
    return no_answer("nothing was measured for this model, accelerator and workload")


def no_answer(reason: str) -> Json:
    empty: Json = {name: {} for name in ("config", "env", "expected", "evidence", "scope", "links")}
    empty |= dict.fromkeys(("id", "published_at", "withdrawn_at", "created_at"))
    empty |= {"vllm_args": [], "caveats": [], "match": {"kind": "none"}, "stale": {"stale": False, "reasons": []}}
    return {**empty, "status": "none", "reason": reason}
