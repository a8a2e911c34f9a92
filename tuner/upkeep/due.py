"""Which published recommendations are to be measured again, and why. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from storage.records import Recommendation
from tuner.advice.lookup import other_versions
from tuner.setup.stored_study import REVISION
from tuner.verdict.answer import STATUS_NONE, Answer

_PREFIX = "revalidate"
_AGE = "measured"


def why_due(
    record: Recommendation,
    answer: Answer,
    versions: Mapping[str, str],
    *,
    revision: str | None = None,
    now: float = 0.0,
    max_age_s: float | None = None,
) -> list[str]:
    """Empty where it still is what was measured. `versions`: package -> version in use now; `revision`: of the model's files now. What is
    not known, then or now, is not different. Times: Unix seconds."""
    if answer.status == STATUS_NONE:
        return []
    reasons = other_versions(answer.scope.get("versions", {}), versions)
    before = (answer.scope.get("model_features") or {}).get(REVISION)
    if before is not None and revision is not None and before != revision:
        reasons.append(f"the model's revision was {before}, is {revision}")
    age_s = now - record.created_at
    if max_age_s is not None and age_s >= max_age_s:
        reasons.append(f"{_AGE} {age_s / 86400:.1f} days ago")
    return reasons


def study_name(record: Recommendation, reasons: list[str]) -> str:
    """Of the study that measures it again: the same for the same change, so that one that was begun is found again."""
    lasting = [_AGE if reason.startswith(_AGE) else reason for reason in reasons]  # an age is another one every day
    digest = hashlib.sha256(json.dumps(lasting).encode()).hexdigest()[:8]
    return f"{_PREFIX}-{record.id}-{digest}"
