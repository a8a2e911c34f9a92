"""What a launcher is: it starts an engine for cold settings and measures live settings inside it.

`Launcher.open()` costs seconds to minutes; `EngineSession.measure()` costs one workload. Implementations: `local` (our own engine host),
`ray` (the same on the nodes of a cluster), `serve` (`vllm serve` + `vllm bench serve`), `table` (a CSV of measured configurations),
`simulate` (the real scheduler under predicted step times). All of them pass tests/conformance/launcher_contract.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Protocol

from profiles.links import session_folder
from tuner.core.factors import ADDITIONAL, ENV, UNSET, Factors
from tuner.core.settings import Difference, Memory, Setting, merged_settings

Json = dict[str, Any]

ARM_DEFAULT = "default"
ARM_PAGE_ALIGNED = "page_aligned"
ARMS = (ARM_DEFAULT, ARM_PAGE_ALIGNED)
ABLATION_ARM = "page_aligned_token_write"
"""Aligned chunks but token-wise KV writes: tells the two effects apart. Local launcher only, never recommended."""


_ADDITIONAL = ADDITIONAL.rstrip(".")
_CHUNK_BUDGET = Setting(Difference.CELL, Memory.GROWS, "chunk_budgets", "max_num_batched_tokens")
_MAX_NUM_SEQS = Setting(Difference.CONDITION, Memory.GROWS, "max_num_seqs", "max_num_seqs")


def _condition(study: str | None, vllm: str | None = None, **further: Any) -> Setting:
    """Most settings: trials that differ in it do not compare, and its effect on memory is not known."""
    return Setting(Difference.CONDITION, Memory.SAME, study, vllm, **further)


@dataclass(frozen=True)
class EngineSettings:
    """Cold settings: changing one needs a new engine. Names are vLLM's. tuner.core.settings explains what a Setting says."""

    model: Annotated[str, Setting(Difference.NONE, Memory.SAME, "model")]  # what the user named
    # The folder or Hugging Face id that vLLM gets.
    model_path: Annotated[str, Setting(Difference.NONE, Memory.SAME, "model", "model", shown=False)]
    block_size: Annotated[int, Setting(Difference.CELL, Memory.PAGES, "page_sizes", "block_size")]
    max_num_batched_tokens: Annotated[int, _CHUNK_BUDGET]  # the compiled maximum; live budgets stay at or below it
    max_num_seqs: Annotated[int, _MAX_NUM_SEQS]
    max_model_len: Annotated[int, Setting(Difference.CONDITION, Memory.GROWS, "max_model_len", "max_model_len")]
    dtype: Annotated[str, _condition("dtype", "dtype", vllm_default="auto")] = "auto"
    load_format: Annotated[str, _condition(None, "load_format", vllm_default="auto")] = "auto"
    platform: Annotated[str, _condition("platform")] = "auto"  # "auto", "tpu", "cpu"
    # "auto", "tuner_xla", "tuner_rpa", "rpa"
    attention_backend: Annotated[str, _condition("attention_backend", "attention_backend", as_is=False)] = "auto"
    alignment_variant: Annotated[str, _condition("alignment_variant")] = "demote"  # "demote", "strict" or "fill_bucket"
    # "auto" = measured on the device; else "<token-wise>,<page-wise>", each "scatter" or "loop"
    kv_write: Annotated[str, _condition("kv_write")] = "auto"
    # Pages in the KV pool; None lets the engine decide (TPU) or sizes it for the workload (CPU).
    num_gpu_blocks: Annotated[
        int | None, Setting(Difference.NONE, Memory.PAGES, "num_gpu_blocks", "num_gpu_blocks_override", as_is=False, shown=False)
    ] = None
    enable_prefix_caching: Annotated[bool, _condition("enable_prefix_caching", "enable_prefix_caching")] = True
    async_scheduling: Annotated[bool, _condition("async_scheduling", "async_scheduling")] = False
    tensor_parallel_size: Annotated[int, _condition("tensor_parallel_size", "tensor_parallel_size", vllm_default=1)] = 1
    seed: Annotated[int, Setting(Difference.NONE, Memory.NONE, "seed", "seed", vllm_default=0, shown=False)] = 0
    # False: vLLM's own scheduler class, as a deployment of the default arm has it.
    alignable: Annotated[bool, Setting(Difference.ARM, Memory.SAME, None, shown=False)] = True
    # Further vLLM engine arguments, passed through.
    extra_engine_args: Annotated[Json, _condition("engine_args")] = field(default_factory=dict)
    # Environment variables of tpu-inference that change the program (name -> text).
    env: Annotated[Json, _condition("factors", shown=False)] = field(default_factory=dict)

    def with_changes(self, **changes: Any) -> EngineSettings:
        return replace(self, **changes)

    def with_factors(self, factors: Factors) -> EngineSettings:
        """With these levels: of fields, of further engine arguments, of keys of `additional_config`, and of environment variables. UNSET
        leaves vLLM its own."""
        own = {item.name for item in fields(self)}
        said = [(name, level) for name, level in factors if level != UNSET or name in own]
        env = {name.removeprefix(ENV): str(level) for name, level in said if name.startswith(ENV)}
        further: Json = {name: level for name, level in said if name not in own and not name.startswith((ENV, ADDITIONAL))}
        keys = [(name.removeprefix(ADDITIONAL).split("."), level) for name, level in said if name.startswith(ADDITIONAL)]
        if keys:
            further[_ADDITIONAL] = _with_keys(self.extra_engine_args.get(_ADDITIONAL) or {}, keys)
        changes: Json = {name: level for name, level in said if name in own}
        return replace(self, env=self.env | env, extra_engine_args=self.extra_engine_args | further, **changes)


def _with_keys(given: Json, keys: Sequence[tuple[Sequence[str], Any]]) -> Json:
    """A copy with these values, each at its path."""
    found: Json = dict(given)
    for (first, *inside), value in keys:
        below = found.get(first)
        found[first] = _with_keys(below if isinstance(below, dict) else {}, [(inside, value)]) if inside else value
    return found


@dataclass(frozen=True)
class LiveSettings:
    """Settings that change between measurements in milliseconds, inside one running engine."""

    arm: Annotated[str, Setting(Difference.ARM, Memory.SAME, "arms", "scheduler_cls", as_is=False)]  # "default" or "page_aligned"
    max_num_batched_tokens: Annotated[int, _CHUNK_BUDGET]
    max_num_seqs: Annotated[int | None, _MAX_NUM_SEQS] = None  # running requests at most; None = the compiled maximum
    # Most tokens of one prompt in a step while other requests are there; 0: no limit, None: what the engine was started with.
    long_prefill_token_threshold: Annotated[int | None, Setting(Difference.CONDITION, Memory.NONE, "factors")] = None


SETTINGS = merged_settings(EngineSettings, LiveSettings)
"""Name -> what it means, of every setting of an engine."""

LIVE_SETTINGS = frozenset(item.name for item in fields(LiveSettings))


@dataclass(frozen=True)
class PlannedRequest:
    """One request of a workload, fully determined before anything is sent."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    max_tokens: int  # exactly this many tokens are generated (ignore_eos)
    arrival_s: float = 0.0  # relative to the start of the window; closed loop: all 0.0


@dataclass(frozen=True)
class LoadPlan:
    """The requests of one measurement. `max_concurrency` None = open loop (arrivals only).

    `stop_when_saturated`: an open-loop window that the engine cannot keep up with may end early (tuner.workload.saturation);
    it is then invalid.
    """

    requests: tuple[PlannedRequest, ...]
    max_concurrency: int | None
    content_hash: str
    stop_when_saturated: bool = False

    @property
    def last_arrival_s(self) -> float:
        """When the last request is sent at the earliest, in seconds since the window's start; 0 in a closed loop."""
        return 0.0 if self.max_concurrency is not None else max((request.arrival_s for request in self.requests), default=0.0)


@dataclass(frozen=True)
class RequestRecord:
    """What happened to one request. Times are seconds on one monotonic clock since the window's start."""

    request_id: str
    prompt_tokens: int
    planned_s: float
    sent_s: float
    token_times_s: tuple[float, ...]  # [output tokens]; the first is the first token
    finished_s: float | None  # None: did not finish
    cached_tokens: int = 0  # prompt tokens found in the prefix cache
    preemptions: int = 0
    error: str | None = None


@dataclass(frozen=True)
class StepRecord:
    """One engine step. `scheduled_tokens` is what the scheduler handed out, `padded_tokens` what the device computed."""

    start_s: float
    duration_s: float
    scheduled_tokens: int
    padded_tokens: int
    prefill_tokens: int
    prefill_requests: int
    decode_requests: int


@dataclass(frozen=True)
class WindowResult:
    """One measured window, raw. Empty `steps` where the launcher cannot see steps (`serve`, `table`)."""

    requests: tuple[RequestRecord, ...]
    steps: tuple[StepRecord, ...]
    started_at: float  # Unix seconds
    duration_s: float
    compilations: int = 0  # programs compiled inside the window: > 0 makes the window invalid ("recompiled")
    output_digest: str = ""  # SHA-256 of all output tokens in request order; "" where unknown
    reported_metrics: Json = field(default_factory=dict)  # metrics that the launcher reports itself (serve, table); override computed ones
    details: Json = field(default_factory=dict)
    stopped: str | None = None  # why it ended early ("saturated ..."): makes the window invalid
    latency_from_arrival: bool = False  # the sender waits for the engine's steps: latencies count from the planned arrival


@dataclass(frozen=True)
class Answered:
    """What an engine generated for one prompt, and how sure it was.

    Of each position its most probable tokens, the generated one first: `ids` and their natural log-probabilities, both [output tokens, K].
    """

    request_id: str
    ids: tuple[tuple[int, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ProfileTarget:
    """Where a profile goes: session `session` of TensorBoard's run `run` (a path below the logdir)."""

    logdir: Path
    run: str
    session: str

    @property
    def folder(self) -> Path:
        """Raises ProfileError for names that would leave the logdir."""
        return session_folder(self.logdir, self.run, self.session)


@dataclass(frozen=True)
class ProfileResult:
    """One host's file of a profile session, in TensorBoard's layout, and the records of the profiled steps (batch composition)."""

    run: str
    session: str
    host: str
    path: Path
    phase: str
    size_bytes: int
    steps: tuple[StepRecord, ...]
    details: Json = field(default_factory=dict)


@dataclass(frozen=True)
class StartReport:
    """What starting an engine cost and what came of it."""

    effective: Json  # the engine's effective configuration, vLLM's names
    environment: Json  # fields of storage.records.Environment
    start_s: float
    details: Json = field(default_factory=dict)


class EngineSession(Protocol):
    """A running engine. Not thread-safe; close() is idempotent and leaves no process behind."""

    @property
    def report(self) -> StartReport: ...

    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        """Compile whatever `plan` needs under `live`. Returns {"seconds", "compilations"}. Raises TrialFailed, EngineLost."""
        ...

    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        """Apply `live`, clear the prefix cache, send `plan`, return what happened. Raises TrialFailed, EngineLost."""
        ...

    generates: bool = False  # whether answer() can be asked

    def answer(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Sequence[Answered]:
        """What greedy decoding makes of the prompts of `plan`, in its order, under `live`; nothing is measured. Raises TrialFailed,
        EngineLost."""
        del live, plan, timeout_s
        return ()

    @property
    def profile_phases(self) -> tuple[str, ...]:
        """What profile() can capture: phases of profiles.session_plan, or "all" where the launcher cannot hold a phase; () for nothing."""
        ...

    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        """Capture one of `profile_phases` outside any measured window, one file a host. Raises TrialFailed, EngineLost."""
        ...

    def close(self) -> None: ...


class Launcher(Protocol):
    name: str
    live_fields: frozenset[str]  # those fields of LiveSettings that this launcher changes without a new engine

    def open(self, settings: EngineSettings, timeout_s: float) -> EngineSession:
        """Start an engine. Raises TrialFailed (class STARTUP, OUT_OF_MEMORY, INVALID_CONFIG or TIMEOUT) with a log excerpt."""
        ...

    def close(self) -> None: ...
