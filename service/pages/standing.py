"""Whether a stored recommendation still holds: by the same rules as the API's answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

from service.web.settings import ServiceSettings
from storage.base import Storage
from storage.records import Recommendation
from tuner.advice.lookup import Query, all_found, found_for, same_question, stale
from tuner.engine.environment import versions

_MOST_RIVALS = 20
_DAY_S = 86400.0


def stale_because(storage: Storage, settings: ServiceSettings, found: Recommendation) -> list[str]:
    """Why it should be measured again: what its own study stored, other versions here, newer evidence that disagrees, age."""
    query = Query(now=time.time(), versions=_versions(), max_age_s=settings.max_age_days * _DAY_S)
    chosen = found_for(query, found)
    rivals = all_found(query, _rivals(storage, found))
    return list(dict.fromkeys([*chosen.answer.stale.get("reasons", []), *stale(query, chosen, rivals)]))


def _rivals(storage: Storage, found: Recommendation) -> Sequence[Recommendation]:
    """Others that answer the same question, the newest first; none for a withdrawn one, which is no answer any more."""
    keys = storage.list_recommendation_keys(model=found.model)
    own = next((key for key in keys if key.id == found.id), None)
    ids = [key.id for key in keys if own is not None and key.id != found.id and same_question(key, own)]
    return storage.get_recommendations(ids[:_MOST_RIVALS])


@cache
def _versions() -> dict[str, str]:
    """Of this Python: they do not change while it runs."""
    return versions()
