"""Hosts in quarantine as answers."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.common import Moment, with_moments
from service.schemas.examples import PAGE
from service.web.paging import PageInfo
from storage.queue_records import TOLD, Quarantine
from storage.records import Json

LONGEST_HOST = 255  # characters, as of a host name
HOST_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
_HELD: Json = {
    "id": 3,
    "host": "tpu-7",
    "since": 1764000000.0,
    "since_rfc3339": "2025-11-24T16:00:00.000Z",
    "by": "tpu-2-311-9f3a",
    "reason": "its default arm measures 6.2 % less than 4 peers",
    "details": {"ratio": 0.938, "low": 0.921, "high": 0.955, "starts": 6, "peers": 4},
    "released_at": None,
    "released_at_rfc3339": None,
    "released_by": None,
    "release_reason": None,
}


def is_host(text: str) -> bool:
    """Whether a host may be called so over REST and on the pages."""
    return len(text) <= LONGEST_HOST and re.fullmatch(HOST_PATTERN, text) is not None


class QuarantineEntry(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_HELD]})

    id: int
    host: str
    since: float
    since_rfc3339: Moment = None
    by: str = Field(description="The worker that found it, or whoever put it there.")
    reason: str
    details: dict[str, Any] = Field(description="What was found: the ratio to its peers with its interval, engine starts, peers.")
    released_at: float | None = Field(description="null while it claims nothing.")
    released_at_rfc3339: Moment = None
    released_by: str | None
    release_reason: str | None


class QuarantinePage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_HELD], "page": {**PAGE, "next": "/v1/hosts?limit=1&offset=1"}}]})

    items: list[QuarantineEntry]
    page: PageInfo


def quarantine_entry(found: Quarantine) -> Json:
    """Without whom it was told."""
    details = {name: value for name, value in found.details.items() if name != TOLD}
    return with_moments({**asdict(found), "details": details}, ("since", "released_at"))
