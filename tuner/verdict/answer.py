"""The answer to "which settings?": one typed form for what a study recommends, what is stored of it and what a question gets. Pure.

tuner.verdict.recommend makes one out of evidence; storage keeps its body as JSON (`body`); `answer_of` reads it back, also as older
versions stored it; tuner.advice turns it into the answer to a question. CLI, REST API and pages render it and add nothing but links.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, with_config

from storage.records import Json, Recommendation
from tuner.core.errors import BadInput
from tuner.core.factors import ArmCell, Factors, Level, cell_of, factors_of, in_arm
from tuner.core.numbers import without_exponents

Status = Literal["recommended", "default", "none", "predicted"]
MatchKind = Literal["exact", "nearest", "none"]

STATUS_RECOMMENDED: Status = "recommended"
STATUS_DEFAULT: Status = "default"
STATUS_NONE: Status = "none"
STATUS_PREDICTED: Status = "predicted"  # only for who accepts it; never stored

_OPEN = ConfigDict(extra="allow")  # a newer version may have stored more
_ROW = ("id", "created_at", "published_at", "withdrawn_at")  # columns beside the stored body


@with_config(_OPEN)
class Settings(TypedDict, total=False):
    """The settings under study, with the values that are recommended. `arm`: "default" or "page_aligned". Further factors of the study
    stand beside them, under their own names."""

    arm: str
    block_size: int
    max_num_batched_tokens: int
    page_aligned: bool


@with_config(_OPEN)
class Change(TypedDict):
    """One setting under study, by vLLM's name (page_aligned is ours): what vLLM takes by itself, null where that is not known, and what is
    recommended."""

    setting: str
    default: Level | None
    recommended: Level


@with_config(_OPEN)
class Expected(TypedDict, total=False):
    """One metric under these settings: median over `measurements` windows, in `unit`. `low` and `high`: interval of the geometric mean at
    `confidence`, widened to hold the median; None below two windows."""

    value: float
    low: float | None
    high: float | None
    confidence: float
    unit: str
    measurements: int


@with_config(_OPEN)
class ArmEffect(TypedDict, total=False):
    """page_aligned / default in the recommended cell. `set_aside`: why the better arm is not the recommended one; None where it is."""

    metric: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str
    pairs: int
    set_aside: str | None


@with_config(_OPEN)
class LevelEffect(ArmEffect, total=False):
    """`level` / baseline level of the compared factor, in the recommended cell of all else."""

    level: Level


@with_config(_OPEN)
class ComparedLevels(TypedDict, total=False):
    """Of a study that compares another factor than the arms: what the pairs say of its other levels in the recommended cell.
    `unit`: what a pair is made of, "round" or "engine start"."""

    factor: str
    baseline: Level
    recommended: Level
    unit: str
    levels: list[LevelEffect]


@with_config(_OPEN)
class GainBaseline(TypedDict, total=False):
    """What a gain is told against. `is_stock`: it is vLLM's own defaults. `misses`: SLOs that it does not meet."""

    trial_id: int
    arm: str
    block_size: int
    max_num_batched_tokens: int
    factors: dict[str, Level]
    is_stock: bool
    misses: list[str]


@with_config(_OPEN)
class Gain(TypedDict, total=False):
    """`ratio`: recommended / baseline of the medians, whichever way is better. `stages`: of the recommended trial and the baseline."""

    metric: str
    value: float
    baseline_value: float
    ratio: float
    low: float | None
    high: float | None
    baseline: GainBaseline
    stages: list[str]


@with_config(_OPEN)
class Overestimate(TypedDict, total=False):
    """`overestimate`: by how much the search promised more than the cold start held, as a fraction of the confirmed value."""

    metric: str
    search_value: float | None
    confirmed_value: float
    overestimate: float | None


@with_config(_OPEN)
class Grounds(TypedDict, total=False):
    """What the answer rests on: `evidence` in the JSON. `over_default`: in the first objective; `_further`: in the others; `_costs`:
    what got worse of what was no objective."""

    study: str
    study_id: int
    stage: str
    trial_ids: list[int]
    measurement_ids: list[int]
    profile_ids: list[int]
    profiles: list[Json]
    configurations_measured: int
    comparisons: list[Json]
    search_overestimate: list[Overestimate]
    arms: ArmEffect | None
    compared: ComparedLevels | None
    over_default: Gain | None
    over_default_further: list[Gain]
    over_default_costs: list[Gain]


@with_config(_OPEN)
class ScopeWorkload(TypedDict, total=False):
    content_hash: str
    name: str
    summary: Json


@with_config(_OPEN)
class Scope(TypedDict, total=False):
    """What it was measured with, and so what it holds for."""

    model: str
    model_features: Json
    platform: str | None
    accelerator: str | None
    device_count: int | None
    environment: str | None
    versions: Json
    workload: ScopeWorkload | None


@with_config(_OPEN)
class Match(TypedDict, total=False):
    """How what was measured relates to what was asked. `parts`: feature -> {"asked", "measured", "distance"}."""

    kind: MatchKind
    distance: float | None
    parts: dict[str, Json]


@with_config(_OPEN)
class Stale(TypedDict, total=False):
    stale: bool
    reasons: list[str]


@with_config(_OPEN)
class PredictionGrounds(TypedDict, total=False):
    """What a prediction rests on: the best of `configurations` simulated ones. A step's true / predicted seconds lie between `low` and
    `high` with `confidence`; `held_out`: what that was seen on, with `median_error` where it is known. `reason`: why there is none."""

    configurations: int
    reason: str
    step_times: str
    low: float
    high: float
    confidence: float
    held_out: str
    median_error: float | None


@dataclass(frozen=True)
class Standing:
    """How an answer stands to the SLOs of the question. `same`: its study had the very same ones; else `notes` say what differs, and
    `failing` names those that are not met."""

    same: bool
    notes: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()


class Answer(BaseModel):
    """One recommendation, vLLM's default, or none; always with the reason, what it holds for, and whether it still does.

    Where there are several objectives, `pareto_front` comes as well.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    id: int | None = Field(default=None, description="Null where no stored recommendation stands behind the answer.")
    status: Status
    reason: str
    config: Json = Field(description="vLLM's argument names and values.")
    vllm_args: list[str] = Field(description="The same as words of a command line, without the model.")
    env: Json = Field(description="Environment variables without which the flags do not work.")
    expected: dict[str, Expected] = Field(description="Metric -> value with its 95 % interval.")
    evidence: Grounds
    scope: Scope = Field(description="Model, accelerator, workload and versions that it was measured with.")
    match: Match = Field(description="exact, nearest with the distance and its parts, or none.")
    stale: Stale
    caveats: list[str]
    published_at: float | None = None
    withdrawn_at: float | None = None
    created_at: float | None = None
    objective: str | None = None
    slos: list[str] = Field(default=[], description="SLOs that it was chosen under.")
    settings: Settings = Field(default=Settings(), description="Page size, chunk budget and arm, and the levels of further factors.")
    changes: list[Change] = Field(default=[], description="The same against vLLM's defaults, also where they are equal.")

    prediction: PredictionGrounds | None = Field(default=None, description="Only where accept=predicted was asked for.")

    _standing: Standing | None = PrivateAttr(default=None)

    @classmethod
    def of_body(cls, body: Json, **changes: Any) -> Self:
        """From a stored `body` with `changes` over it; what it lacks is empty. Raises pydantic.ValidationError."""
        empty: Json = {name: {} for name in ("config", "env", "expected", "evidence", "scope")}
        empty |= {"reason": "", "vllm_args": [], "caveats": []}
        empty |= {"match": {"kind": "exact", "distance": 0.0}, "stale": {"stale": False, "reasons": []}}
        return cls.model_validate({**empty, **body, **changes})

    @property
    def place(self) -> ArmCell | None:
        """Arm and cell that are recommended; None where nothing is."""
        found = self.settings
        if "arm" not in found or "block_size" not in found or "max_num_batched_tokens" not in found:
            return None
        return in_arm(found["arm"], cell_of(found["block_size"], found["max_num_batched_tokens"], self.factors))

    @property
    def factors(self) -> Factors:
        """Those that are recommended beyond page size, chunk budget and arm."""
        levels: dict[str, Any] = {name: level for name, level in self.settings.items() if name not in Settings.__annotations__}
        return factors_of(levels)

    @property
    def stage_in_words(self) -> str:
        """Where its values come from: the two stages' values differ, because the best of many noisy ones is an overestimate."""
        if self.status == STATUS_PREDICTED:
            return "predicted, not measured"
        stage = self.evidence.get("stage")
        return {"confirm": "after a cold start", "search": "in the search, not confirmed"}.get(stage or "", "")

    @property
    def standing(self) -> Standing | None:
        """How it stands to the SLOs of the question; None where no question was asked or nothing is recommended."""
        return self._standing

    def under(self, standing: Standing) -> Self:
        """The same answer, with how it stands to the SLOs that were asked for."""
        found = self.model_copy()
        found._standing = standing
        return found

    def changed(self, **changes: Any) -> Self:
        """With other values for some fields."""
        return self.model_copy(update=changes)

    def served(self) -> Json:
        """What tuner.serving.serve_formats takes."""
        return {"config": self.config, "vllm_args": self.vllm_args, "env": self.env}

    def to_json(self) -> Json:
        """Every field that was given."""
        return self.model_dump(exclude_unset=True)

    def body(self) -> Json:
        """What storage keeps beside the columns of a recommendation."""
        return self.model_dump(exclude_unset=True, exclude=set(_ROW))


def answer_of(found: Recommendation) -> Answer:
    """The answer that a stored recommendation is, with its model in the configuration. Raises BadInput where what is stored is damaged."""
    row: Json = {name: getattr(found, name) for name in (*_ROW, "status")}
    try:
        answer = _reworded(Answer.of_body({"objective": found.objective, "slos": [], **found.body}, **row))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise BadInput(f"recommendation {found.id}: what is stored as its {where} is damaged") from None
    if answer.status == STATUS_NONE:
        return answer
    return answer.changed(config={"model": found.model, **answer.config})


def readable_answers(stored: Sequence[Recommendation]) -> list[tuple[Recommendation, Answer]]:
    """Each with its answer, without damaged ones: for lists, in which one must not hide all others."""
    found = []
    for item in stored:
        with suppress(BadInput):
            found.append((item, answer_of(item)))
    return found


def _reworded(answer: Answer) -> Answer:
    """Earlier versions wrote large numbers with an exponent, and called page_aligned with vLLM's own page size and chunk budget "vLLM's own
    defaults"."""
    reason = without_exponents(answer.reason)
    if answer.settings.get("page_aligned"):
        reason = reason.replace("a tie, which vLLM's own defaults win", "a tie, which vLLM's own page size and chunk budget win")
    return answer if reason == answer.reason else answer.changed(reason=reason)
