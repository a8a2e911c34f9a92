"""Submissions as answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.schemas.common import Moment, with_moments
from service.schemas.history import WithReason
from service.schemas.submission_examples import QUEUED, QUEUED_DETAIL, QUEUED_PAGE, SUBMITTED_ANSWER
from service.web.paging import PageInfo
from storage.queue_records import Submission, SubmissionEvent
from storage.records import Json
from tuner.fleet.parts import Part

MOST_PRIORITY = 100
MOST_WORKERS = 1024
_MOMENTS = ("submitted_at", "heartbeat_at", "finished_at")
_SHOWN = (
    *("id", "study", "state", "priority", "team", "submitted_by", "requirements", "claimed_by", "workers", "attempts", "reason"),
    *_MOMENTS,
)


def _whole(value: object) -> object:
    """5.0 is an integer to JSON Schema, and so to those who read our document."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class SubmissionEntry(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [QUEUED]})

    id: int
    study: str = Field(description="Its name; it is in the list of studies once a worker has begun it.")
    state: str = Field(description="QUEUED, RUNNING, CANCELLING, COMPLETE, FAILED or CANCELLED.")
    priority: int = Field(description="Higher ones first, then the oldest.")
    team: str | None
    submitted_by: str
    requirements: dict[str, Any] = Field(description="What a worker has to have.")
    claimed_by: str | None = Field(description="The worker that has it, or had it last.")
    workers: int = Field(description="How many workers may work on it at once.")
    attempts: int = Field(description="Workers that have taken it up and not given it back.")
    reason: str | None = Field(description="Why it failed, was cancelled or given back.")
    submitted_at: float
    submitted_at_rfc3339: Moment = None
    heartbeat_at: float | None = Field(description="Its worker's last sign of life.")
    heartbeat_at_rfc3339: Moment = None
    finished_at: float | None
    finished_at_rfc3339: Moment = None


class SubmissionChange(BaseModel):
    id: int
    what: str
    by: str
    at: float
    at_rfc3339: Moment = None
    reason: str


class SubmissionPart(BaseModel):
    worker: str
    what: str = Field(description="What it measures, in words.")
    heard_of: float = Field(description="Its last sign of life.")
    heard_of_rfc3339: Moment = None


class SubmissionDetail(SubmissionEntry):
    model_config = ConfigDict(json_schema_extra={"examples": [QUEUED_DETAIL]})

    config: dict[str, Any] = Field(description="The study's settings, as they were submitted.")
    parts: list[SubmissionPart] = Field(description="Who works on what just now, where several workers may.")
    changes: list[SubmissionChange] = Field(description="What has happened to it, oldest first: its audit trail.")


class NewPriority(WithReason):
    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 5, "reason": "needed for the release"}]})

    priority: Annotated[int, Field(strict=True, ge=-MOST_PRIORITY, le=MOST_PRIORITY), BeforeValidator(_whole)]


class SubmissionPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [QUEUED_PAGE]})

    items: list[SubmissionEntry]
    page: PageInfo


class SubmittedAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [SUBMITTED_ANSWER]})

    submission: SubmissionEntry | None = Field(description="null for a dry run.")
    study: str
    plan: dict[str, Any] | None = Field(description="As `tuner search --dry-run --json` prints it; null where it cannot be told here.")
    reason: str | None = Field(description="Why there is no plan.")
    warnings: list[str] = Field(description="What cannot run, and what to know; one line each.")


def submission_entry(found: Submission) -> Json:
    """Without its webhook, whose address may hold a secret."""
    every = asdict(found)
    return with_moments({name: every[name] for name in _SHOWN}, _MOMENTS)


def submission_detail(found: Submission, changes: list[SubmissionEvent], parts: list[Part]) -> Json:
    working = [with_moments(part.to_json(), ("heard_of",)) for part in parts]
    return {**submission_entry(found), "config": found.config, "parts": working, "changes": [change_entry(change) for change in changes]}


def change_entry(change: SubmissionEvent) -> Json:
    said = {"id": change.id, "what": change.what.value, "by": change.by, "at": change.at, "reason": change.reason}
    return with_moments(said, ("at",))
