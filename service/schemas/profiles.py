"""What differs between two profiles."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import examples


class ProfileDiffAnswer(BaseModel):
    """Candidate minus baseline, milliseconds a step, with 95 % intervals."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.PROFILE_DIFF]})

    baseline_trial_id: int
    candidate_trial_id: int
    phase: str
    comparable: bool
    caveats: list[str]
    baseline_steps: int
    candidate_steps: int
    step: dict[str, Any]
    categories: list[dict[str, Any]]
    scopes: list[dict[str, Any]] = Field(description="Largest difference first.")
    explained: dict[str, Any] = Field(description="How much of the measured difference the profiles show.")
    rules_version: str
