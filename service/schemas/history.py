"""Who changed what, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import examples
from service.schemas.common import Moment, with_moments
from storage.records import AuditEntry, Json
from tuner.core.reason import MOST_CHARACTERS, ONE_LINE


class HistoryEntry(BaseModel):
    at: float
    at_rfc3339: Moment = None
    actor: str
    action: str
    detail: str = Field(description="What changed, where the action alone does not say it.")
    reason: str
    request_id: str | None


class History(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.HISTORY]})

    recommendation_id: int
    items: list[HistoryEntry]


class WithReason(BaseModel):
    """Why, for the audit trail."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=MOST_CHARACTERS, pattern=ONE_LINE, description="For the audit trail.")] = ""


class Mark(WithReason):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "confirmed on the staging slice"}]})


def history_entries(found: Iterable[AuditEntry]) -> list[Json]:
    return [with_moments(asdict(item), ("at",)) for item in found]
