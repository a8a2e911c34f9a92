"""Searches for the highest load within SLOs: what may be asked, and the form of the answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import examples
from service.schemas.common import Moment, Text
from service.web.paging import PageInfo, PageQuery
from storage.records import CapacityState, Json

_MOST_LOAD = 1e9
LoadUnit = Literal["rate", "concurrency"]


class CapacityQuery(PageQuery):
    model: Annotated[Text | None, Field(description="Only this model.")] = None
    accelerator: Annotated[Text | None, Field(description="Only on it, as stored: TPU v6e-1.")] = None
    workload: Annotated[Text | None, Field(description="Only under this workload: its name or content hash.")] = None
    by: Annotated[LoadUnit | None, Field(description="Only the highest rates (requests/s), or numbers of requests at once.")] = None
    load: Annotated[
        float | None,
        Field(gt=0, le=_MOST_LOAD, allow_inf_nan=False, description="To be served, in the unit of `by`: `sizing` says the chips."),
    ] = None
    chip_hour_price: Annotated[
        float | None, Field(gt=0, le=_MOST_LOAD, allow_inf_nan=False, description="Of one chip for an hour: `cost` says what tokens cost.")
    ] = None


class CapacityPoint(BaseModel):
    """Windows at about one load, `rate` (in the unit of `by`). `goodput`: requests/s that met every per-request limit."""

    rate: float
    windows: int
    held: int
    goodput: float | None
    metrics: dict[str, float]


class CapacitySizing(BaseModel):
    """`chips`: with the low end of the interval; `at_least`: with the high one."""

    load: float
    engines: int
    chips: int
    at_least: int | None


class CapacityCost(BaseModel):
    """Per million tokens at the edge, in the price's currency; `low` and `high` of `per_million_tokens`."""

    price_per_chip_hour: float
    per_million_tokens: float
    per_million_output_tokens: float
    low: float | None
    high: float | None


class CapacityEntry(BaseModel):
    """One search, by the "rate" (requests/s) or by "concurrency" (requests at once). `max_request_rate` or `max_concurrency`, `low`, `high`
    (95 %): of one engine; null where no load is known to hold."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.CAPACITY]})

    id: int
    status: Literal["measured", "predicted"]
    state: CapacityState
    sentence: str
    hint: str | None
    by: LoadUnit
    max_request_rate: float | None
    max_concurrency: float | None
    low: float | None
    high: float | None
    slos: list[str]
    model: str
    workload: str
    accelerator: str | None
    devices: int
    launcher: str
    settings: Json
    windows: int
    tokens_per_request: float | None
    curve: list[CapacityPoint]
    sizing: CapacitySizing | None
    cost: CapacityCost | None
    created_at: float
    created_at_rfc3339: Moment = None


class CapacityPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [examples.CAPACITY], "page": examples.CAPACITY_PAGE}]})

    items: list[CapacityEntry]
    page: PageInfo
