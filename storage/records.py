"""Plain frozen records: what goes into storage and what comes out. No SQLAlchemy, no business rules.

Times are Unix seconds (float, UTC); durations carry their unit in the name. Free-form parts are JSON objects (`dict`).
An id of 0 means "not stored yet".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict

Json = dict[str, Any]


class TrialState(StrEnum):
    """Optuna's words for a trial's state."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


FINISHED = frozenset({TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL})  # a trial in one of these never changes again


class StudyState(StrEnum):
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    INTERRUPTED = "INTERRUPTED"
    FAIL = "FAIL"


class PublicationState(StrEnum):
    """Of a recommendation, by what people decided."""

    PUBLISHED = "published"
    OPEN = "open"  # neither published nor withdrawn
    WITHDRAWN = "withdrawn"


class Stage(StrEnum):
    """`search`: measured among others in a shared engine. `confirm`: a finalist, started cold with its own flags."""

    SEARCH = "search"
    CONFIRM = "confirm"


@dataclass(frozen=True)
class Environment:
    """Where a measurement was made. `fingerprint` is the SHA-256 of the other fields' canonical JSON."""

    fingerprint: str
    platform: str  # "tpu", "cpu" or "cuda": what JAX ran on
    accelerator: str  # e.g. "TPU v6e-4", "cpu x86_64 AMD EPYC"
    device_count: int
    versions: Json  # package -> version: vllm, tpu_inference, jax, jaxlib, libtpu, plugin, python
    details: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """A workload's content: two workloads with the same hash send the same requests."""

    content_hash: str
    name: str
    spec: Json
    summary: Json = field(default_factory=dict)  # measured features: request count, input/output length quantiles, prefix fraction


@dataclass(frozen=True)
class Study:
    name: str
    model: str
    config: Json
    objective: str
    id: int = 0
    state: StudyState = StudyState.RUNNING
    model_features: Json = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0
    engine_starts: int = 0
    cost: Json = field(default_factory=dict)  # seconds spent: start, compile, measure, profile, other
    tags: list[str] | None = None  # people's own words for it, sorted; None: none
    archived_at: float | None = None  # since when lists leave it out


class StudyFilter(TypedDict, total=False):
    """Which studies a list is of; None and absent are all."""

    model: str | None
    state: StudyState | None
    text: str | None  # stands in the name, model, a tag or the name of a workload, in any case
    accelerator: str | None  # of one of its trials
    archived: bool | None


@dataclass(frozen=True)
class StudyContext:
    """What trials of a study ran on, and under which load. A study has one, unless it was resumed on another machine."""

    study_id: int
    accelerator: str | None  # None before an engine has started
    device_count: int | None
    workload: str  # its name


@dataclass(frozen=True)
class Lease:
    """Who runs a study. `token` is the holder's own and new for every claim; `heartbeat` says when it was last known to live."""

    study_id: int
    token: str
    pid: int
    host: str
    process_started_at: float  # Unix seconds: a process id alone may have been given again
    heartbeat: float  # Unix seconds


@dataclass(frozen=True)
class Trial:
    """One configuration of a study. `number` counts within the study from 0; `id` is global."""

    study_id: int
    number: int
    arm: str  # "default" or "page_aligned"
    block_size: int  # page size in tokens
    max_num_batched_tokens: int  # the chunk budget
    requested: Json
    workload_hash: str
    id: int = 0
    stage: Stage = Stage.SEARCH
    state: TrialState = TrialState.WAITING
    effective: Json = field(default_factory=dict)
    environment: str | None = None  # Environment.fingerprint
    optuna_trial_id: int | None = None
    values: Json | None = None  # objective name -> value; None unless COMPLETE (or PRUNED with what was seen)
    error_class: str | None = None
    error_message: str | None = None
    log_excerpt: str | None = None
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    notes: Json = field(default_factory=dict)
    factors: Json = field(default_factory=dict)  # settings under study beyond those three: name -> level


@dataclass(frozen=True)
class Measurement:
    """One measured window of a trial. Invalid ones are kept, with their reason, and never enter a value."""

    trial_id: int
    round: int  # the randomised interleaved round, from 0
    position: int  # order inside the round, from 0
    started_at: float
    duration_s: float
    metrics: Json  # flat metric name -> float, see tuner.metrics.window
    id: int = 0
    valid: bool = True
    invalid_reason: str | None = None  # "recompiled", "drifted", "busy", "request_failed", ...
    details: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """One XLA profile session of a trial: logdir/run/plugins/profile/session/host.xplane.pb."""

    trial_id: int
    logdir: str
    run: str
    session: str
    host: str
    phase: str  # "all", "prefill", "decode", "mixed"
    size_bytes: int
    id: int = 0
    created_at: float = 0.0
    status: str = "ok"  # "ok", "bad" (kept, with quality saying why), "missing"
    quality: Json = field(default_factory=dict)
    summary: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Page-aligned against default in one cell, as a ratio candidate / baseline of `metric`, with a 95 % interval."""

    study_id: int
    metric: str
    block_size: int
    max_num_batched_tokens: int
    verdict: str  # "better", "worse", "equivalent", "inconclusive"
    pairs: int
    id: int = 0
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    baseline_trial_id: int | None = None
    candidate_trial_id: int | None = None
    details: Json = field(default_factory=dict)
    created_at: float = 0.0
    factors: Json = field(default_factory=dict)  # of the cell, as a trial's


@dataclass(frozen=True)
class Recommendation:
    """What a study recommends: the full answer is `body`; the columns beside it are for look-ups."""

    study_id: int
    status: str  # "recommended", "default", "none"
    model: str
    accelerator: str
    device_count: int
    workload_hash: str
    objective: str
    body: Json
    id: int = 0
    created_at: float = 0.0
    published_at: float | None = None
    withdrawn_at: float | None = None


@dataclass(frozen=True)
class RecommendationKey:
    """A recommendation without its body, with the fields from which a look-up computes distances."""

    id: int
    study_id: int
    study: str  # name
    status: str
    model: str
    accelerator: str
    device_count: int
    workload_hash: str
    objective: str
    created_at: float
    published_at: float | None
    model_features: Json
    workload_name: str
    workload_summary: Json


@dataclass(frozen=True)
class Answerable:
    """A question that a stored recommendation answers exactly."""

    model: str
    accelerator: str
    device_count: int
    workload: str  # its name
    objective: str


class CapacityState(StrEnum):
    """How the search for a highest load stands."""

    RUNNING = "running"
    FOUND = "found"
    NONE = "none"  # the SLOs hold at no load within reach
    AT_LEAST = "at_least"  # they hold at the highest load that was tried
    INTERRUPTED = "interrupted"
    FAIL = "fail"


@dataclass(frozen=True)
class CapacityRun:
    """One search for the highest load at which one configuration meets its SLOs. `edge`, `low` and `high` (95 %) are requests/s.

    `question`: all that the windows depend on besides the environment; `requested`: the engine's settings, as of a trial.
    """

    model: str
    workload_hash: str  # of the first window's requests at one request a second
    launcher: str
    slos: list[str]
    question: Json
    requested: Json
    id: int = 0
    state: CapacityState = CapacityState.RUNNING
    environment: str | None = None  # Environment.fingerprint; None before an engine has started
    effective: Json = field(default_factory=dict)
    edge: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None  # why it failed, or why no load holds
    created_at: float = 0.0
    finished_at: float | None = None


class CapacityFilter(TypedDict, total=False):
    """Which runs; None: whatever they have. `workload`: its name or content hash. `by`: the question's, "rate" where it has none."""

    model: str | None
    accelerator: str | None
    workload: str | None
    by: str | None


class CapacityChanges(TypedDict, total=False):
    """What changes in a CapacityRun beside its state."""

    environment: str
    effective: Json
    edge: float | None
    low: float | None
    high: float | None
    reason: str | None
    finished_at: float


@dataclass(frozen=True)
class CapacityWindow:
    """One window at one load. `readings`: what it says of each criterion (tuner.stats.edge), empty where it cannot be used."""

    run_id: int
    number: int  # from 0
    load: float  # requests/s that arrive
    started_at: float
    duration_s: float
    held: bool
    metrics: Json
    readings: Json
    id: int = 0
    invalid_reason: str | None = None  # it counts for nothing: "recompiled", "request_failed", ...
    details: Json = field(default_factory=dict)


@dataclass(frozen=True)
class ForesightAnswer:
    """What was foreseen, never measured; it belongs to no study. `kind`: "engine" or "program" (compiled for a TPU that need not be here)
    or "configuration" (simulated). `key`: SHA-256 of all that the answer depends on, so that equal keys have equal answers."""

    key: str
    kind: str
    model: str  # as the user named it
    accelerator: str
    device_count: int
    question: Json
    answer: Json
    id: int = 0
    created_at: float = 0.0


@dataclass(frozen=True)
class ApiToken:
    """What is kept of an API token: its public key part and a SHA-256, never the token.

    In force: now < `expires_at` and now < `revoked_at`, where set; a rotated token's `revoked_at` may lie ahead.
    """

    name: str
    key: str
    digest: str  # hexadecimal
    scopes: list[str]
    id: int = 0
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None

    def in_force(self, now: float) -> bool:
        """`now`: Unix seconds."""
        return all(end is None or now < end for end in (self.expires_at, self.revoked_at))


@dataclass(frozen=True)
class Actor:
    """Who changes something, why, and in which HTTP request."""

    name: str  # of the API token, or of the operator's account on the machine
    reason: str = ""
    request_id: str | None = None


@dataclass(frozen=True)
class AuditEntry:
    """One change that somebody made; it outlives its subject."""

    actor: str
    action: str  # "publish", "withdraw", "rename", "tag", "archive", "restore", "delete", "token.create", "token.rotate", "token.revoke"
    kind: str  # what was changed: "recommendation", "study" or "token"
    subject: str  # the id of the recommendation or study, the token's name
    reason: str
    request_id: str | None
    id: int = 0
    at: float = 0.0
    detail: str = ""  # what changed, where the action alone does not say it: "first -> second"
