"""Studies, trials, comparisons as answers. Times are Unix seconds, each with a neighbour by RFC 3339; durations carry their unit."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import examples
from service.schemas.common import LONGEST, Moment, patterned, with_moments
from service.schemas.history import HistoryEntry, WithReason
from service.web.paging import PageInfo
from storage.records import Json, Measurement, Profile, Study, Trial, TrialState
from tuner.report.report import comparison_json, study_json, trial_json
from tuner.search.keeping import MOST_TAGS, TAG
from tuner.search.life import Life, life_json
from tuner.setup.config import STUDY_NAME, check_study_name


class StudyEntry(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.STUDY]})

    name: str
    state: str
    model: str
    objective: str
    engine_starts: int
    cost_s: dict[str, Any]
    created_at: float
    created_at_rfc3339: Moment = None
    updated_at: float
    updated_at_rfc3339: Moment = None
    tags: list[str] = Field(description="People's own words for it.")
    archived_at: float | None = Field(description="Since when lists leave it out; null where they do not.")
    archived_at_rfc3339: Moment = None
    trials: dict[str, int] = Field(description="State -> trials.")
    last_sign_of_life: float | None = Field(default=None, description="Of whoever runs it; null unless its state is RUNNING.")
    last_sign_of_life_rfc3339: Moment = None
    no_sign_of_life: str | None = Field(
        default=None, description="Since when nobody runs it although its state is RUNNING, and what to do."
    )


class StudyDetail(StudyEntry):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.STUDY_DETAIL]})

    model_features: dict[str, Any] = Field(description="The architecture, from the model's config.json.")
    config: dict[str, Any] = Field(description="The settings of the search.")


class StudyPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.STUDY_PAGE]})

    items: list[StudyEntry]
    page: PageInfo


FactorLevels = Annotated[
    dict[str, Any],
    Field(
        description="Settings under study beyond these: name -> level. Absent where there are none.", exclude_if=lambda levels: not levels
    ),
]


class TrialEntry(BaseModel):
    id: int = Field(description="Over all studies; `number` counts within one.")
    number: int
    stage: str
    state: str
    arm: str
    block_size: int = Field(description="Page size in tokens.")
    max_num_batched_tokens: int = Field(description="Chunk budget in tokens.")
    factors: FactorLevels = {}
    values: dict[str, Any] | None = Field(description="Objective -> value; null unless the trial has one.")
    error_class: str | None
    error_message: str | None
    started_at: float | None
    started_at_rfc3339: Moment = None
    finished_at: float | None
    finished_at_rfc3339: Moment = None


class TrialPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRIAL_PAGE]})

    items: list[TrialEntry]
    page: PageInfo


class MeasurementEntry(BaseModel):
    id: int
    round: int
    position: int
    started_at: float
    started_at_rfc3339: Moment = None
    duration_s: float
    valid: bool
    invalid_reason: str | None
    metrics: dict[str, Any]


class EnvironmentEntry(BaseModel):
    fingerprint: str
    platform: str
    accelerator: str
    device_count: int
    versions: dict[str, Any]


class ProfileEntry(BaseModel):
    id: int
    run: str
    session: str
    host: str
    phase: str
    size_bytes: int
    status: str
    created_at: float
    created_at_rfc3339: Moment = None
    quality: dict[str, Any]
    summary: dict[str, Any] = Field(description="Milliseconds per step and category; empty where the profile was not read yet.")
    tensorboard: str | None = Field(description="Opens the profile in the service's TensorBoard.")


class TrialDetail(TrialEntry):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRIAL_DETAIL]})

    study: str
    workload_hash: str
    requested: dict[str, Any]
    effective: dict[str, Any] = Field(description="What the engine says that it runs with.")
    environment: EnvironmentEntry | None
    log_excerpt: str | None
    notes: dict[str, Any]
    measurements: list[MeasurementEntry]
    profiles: list[ProfileEntry]


class TrialProfiles(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRIAL_PROFILES]})

    trial_id: int
    items: list[ProfileEntry]


class ArmStepsEntry(BaseModel):
    steps: float
    scheduled_tokens: float = Field(description="What the scheduler handed out.")
    padded_tokens: float = Field(description="What the device computed: each step is rounded up to a compiled size.")
    prefill_tokens: float
    step_ms: float = Field(description="Mean time of a step.")


class PartEntry(BaseModel):
    ratio: float | None = Field(description="Factor that this makes of the metric; null where it is only known to lie between the two.")
    low: float
    high: float


class PaddedFractionEntry(BaseModel):
    value: float | None = Field(description="Of the engine time, what goes with padded tokens; null where the study cannot tell.")
    low: float
    high: float
    differences: int = Field(description="Differences between chunk budgets that it was fitted to.")


class CauseEntry(BaseModel):
    """Numbers are missing where the launcher sees no steps."""

    sentence: str
    causes: list[str] = Field(description="Of the verdict: schedule, padding, kv_write, other, noise.")
    default: ArmStepsEntry | None = Field(None, description="Medians of a window.")
    page_aligned: ArmStepsEntry | None = Field(None, description="Medians of a window.")
    changes: dict[str, float | None] = Field({}, description="page_aligned / default - 1 of each of these numbers.")
    rounds: int = Field(0, description="Rounds with the steps of both arms.")
    identical: bool | None = Field(None, description="The same steps, scheduled and padded tokens in every round.")
    steady: bool | None = Field(None, description="Each arm has the same numbers in all its rounds.")
    parts: dict[str, PartEntry] = Field({}, description="Factors that multiply to the ratio; none for latencies and open loops.")
    padded_fraction: PaddedFractionEntry | None = None
    kv_write_at_most: float | None = Field(None, description="Of the engine time, by the default arm's profiles.")


class ComparedFactor(BaseModel):
    factor: str
    level: str | int | float | bool
    baseline: str | int | float | bool
    unit: str = Field(description="What a pair is made of: round, or engine start.")


class ComparisonEntry(BaseModel):
    metric: str
    block_size: int
    max_num_batched_tokens: int
    factors: FactorLevels = {}
    verdict: str = Field(description="better, worse, equivalent (within 1 %) or inconclusive")
    ratio: float | None = Field(description="page_aligned / default, or what `compared` says: its level / its baseline.")
    low: float | None
    high: float | None
    pairs: int
    reason: str | None
    compared: ComparedFactor | None = Field(
        None, description="Only of a study that compares another factor than page alignment.", exclude_if=lambda found: found is None
    )
    cause: CauseEntry | None = Field(description="Why the cell is what it is; null where nobody has told it.")
    baseline_trial_id: int | None
    candidate_trial_id: int | None


class StudyComparisonAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.COMPARISON]})

    study: str
    state: str
    items: list[ComparisonEntry]
    answer: dict[str, Any] | None = Field(
        description=(
            "Can page-aligned scheduling, or another level of the factor that the study compares, be on by default? "
            "`answer`: on, on_where (with `rule`), off, mixed, trade_off, no_difference or "
            "undecided, over all objectives and SLOs; `sentence` says it with its numbers."
        )
    )


class NewName(WithReason):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "chat-v6e", "reason": "found more easily"}]})

    name: Annotated[str, Field(max_length=LONGEST), *patterned(f"^{STUDY_NAME}$", check_study_name, "chat-v6e")]


class Confirmation(WithReason):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "qwen3-chat", "reason": "of a wrong model"}]})

    name: Annotated[str, Field(max_length=255, description="Of the study, once more.")]


class StudyTags(WithReason):
    model_config = ConfigDict(json_schema_extra={"examples": [{"tags": ["nightly", "v6e"]}]})

    tags: Annotated[list[Annotated[str, Field(pattern=f"^{TAG}$")]], Field(max_length=MOST_TAGS)]


class Deleted(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"deleted": "qwen3-chat"}]})

    deleted: str = Field(description="The name that the study had.")


class StudyHistory(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.STUDY_HISTORY]})

    study: str
    items: list[HistoryEntry]


def study_entry(study: Study, counts: dict[TrialState, int], life: Life | None) -> Json:
    found = {**study_json(study), **life_json(life), "trials": {state.value: count for state, count in counts.items()}}
    return with_moments(found, ("created_at", "updated_at", "archived_at", "last_sign_of_life"))


def study_detail(study: Study, counts: dict[TrialState, int], life: Life | None) -> Json:
    return {**study_entry(study, counts, life), "model_features": study.model_features, "config": study.config}


def trial_entry(trial: Trial) -> Json:
    document = with_moments(trial_json(trial), ("started_at", "finished_at"))
    return {name: document[name] for name in TrialEntry.model_fields if name in document}


def measurement_entry(item: Measurement) -> Json:
    return with_moments(_taken(item, MeasurementEntry), ("started_at",))


def comparison_entry(item: Any) -> Json:
    return {**comparison_json(item), "baseline_trial_id": item.baseline_trial_id, "candidate_trial_id": item.candidate_trial_id}


def profile_entry(item: Profile, tensorboard: str | None) -> Json:
    return with_moments(_taken(item, ProfileEntry), ("created_at",)) | {"tensorboard": tensorboard}


def _taken(item: Measurement | Profile, entry: type[BaseModel]) -> Json:
    """What the entry shows of the record, by name."""
    return {name: getattr(item, name) for name in entry.model_fields if hasattr(item, name)}
