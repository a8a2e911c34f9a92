"""Reads the file of --step-time: what a step costs, as its user measured it. YAML or JSON; times are milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuner.core.errors import BadInput
from tuner.core.yaml_file import read_yaml
from tuner.engine.step_costs import DECODE_TERMS, PREFILL_TERMS, Point, StepCosts

Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Size = Annotated[int, Field(gt=0)]
_HOLDS = "about and padded_ms, for instance padded_ms: {16: 11.2, 2048: 61}"


class StepCostFile(BaseModel):
    """`padded_ms`: tokens that a step is padded to -> ms; `logits_ms`: requests of a step -> ms. `prefill_ms` and `decode_ms` are the
    weights of tuner.engine.step_costs. `first`: how many times as long a window's first step takes. `step_noise`, `window_noise`: ratios to
    the typical step and window."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: Annotated[str, Field(min_length=1)]
    padded_ms: Annotated[Mapping[Size, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
    logits_ms: Mapping[Size, Time] = Field(default_factory=dict)
    prefill_ms: Annotated[list[Time], Field(min_length=PREFILL_TERMS, max_length=PREFILL_TERMS)] = [0.0] * PREFILL_TERMS
    decode_ms: Annotated[list[Time], Field(min_length=DECODE_TERMS, max_length=DECODE_TERMS)] = [0.0] * DECODE_TERMS
    first: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    low: Annotated[float, Field(gt=0, le=1)] = 1.0
    high: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    step_noise: list[Ratio] = Field(default_factory=list)
    window_noise: list[Ratio] = Field(default_factory=list)


def read_step_costs(path: Path) -> StepCosts:
    """Raises BadInput naming the file and the first bad key."""
    raw = read_yaml(path, what="step time file", holds=_HOLDS)
    try:
        found = StepCostFile.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(f"step time file {path}: {key}: {first['msg'][:1].lower()}{first['msg'][1:]}; it holds {_HOLDS}") from error
    return StepCosts(
        about=found.about,
        padded=_points(found.padded_ms),
        logits=_points(found.logits_ms),
        prefill=tuple(value / 1000 for value in found.prefill_ms),
        decode=tuple(value / 1000 for value in found.decode_ms),
        first=found.first,
        low=found.low,
        high=found.high,
        step_noise=tuple(found.step_noise),
        window_noise=tuple(found.window_noise),
    )


def _points(table: Mapping[int, float]) -> tuple[Point, ...]:
    return tuple(Point(size, table[size] / 1000) for size in sorted(table))
