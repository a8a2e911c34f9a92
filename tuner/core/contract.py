"""What a launcher is: it starts an engine for cold settings and measures live settings inside it.

`Launcher.open()` costs seconds to minutes; `EngineSession.measure()` costs one workload. Implementations: `local` (our own engine host),
`serve` (`vllm serve` + `vllm bench serve`), `table` (a CSV of measured configurations). All of them pass
tests/conformance/launcher_contract.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

Json = dict[str, Any]

ARM_DEFAULT = "default"
ARM_PAGE_ALIGNED = "page_aligned"
ARMS = (ARM_DEFAULT, ARM_PAGE_ALIGNED)
ABLATION_ARM = "page_aligned_token_write"
"""Aligned chunks but token-wise KV writes: tells the two effects apart. Local launcher only, never recommended."""


@dataclass(frozen=True)
class EngineSettings:
    """Cold settings: changing one needs a new engine. Names are vLLM's."""

    model: str  # what the user named
    model_path: str  # the folder or Hugging Face id that vLLM gets
    block_size: int
    max_num_batched_tokens: int  # the compiled maximum; live budgets stay at or below it
    max_num_seqs: int
    max_model_len: int
    dtype: str = "auto"
    load_format: str = "auto"
    platform: str = "auto"  # "auto", "tpu", "cpu"
    attention_backend: str = "auto"  # "auto", "tuner_xla", "rpa"
    alignment_variant: str = "demote"  # "demote" or "strict"
    kv_write: str = "auto"  # "auto" = measured on the device; else "<token form>,<page form>", each "scatter" or "loop"
    num_gpu_blocks: int | None = None  # pages in the KV pool; None lets the engine decide (TPU) or sizes it for the workload (CPU)
    enable_prefix_caching: bool = True
    async_scheduling: bool = False
    tensor_parallel_size: int = 1
    seed: int = 0
    alignable: bool = True  # False: vLLM's own scheduler class, as a deployment of the default arm has it
    extra_engine_args: Json = field(default_factory=dict)  # further vLLM engine arguments, passed through

    def with_changes(self, **changes: Any) -> EngineSettings:
        return replace(self, **changes)


@dataclass(frozen=True)
class LiveSettings:
    """Settings that change between measurements in milliseconds, inside one running engine."""

    arm: str  # "default" or "page_aligned"
    max_num_batched_tokens: int  # the chunk budget
    max_num_seqs: int | None = None  # running requests at most; None = the compiled maximum


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
class CaptureResult:
    """One XLA profile capture, in TensorBoard's layout, plus the step records of the captured window (batch composition)."""

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

    @property
    def profile_phases(self) -> tuple[str, ...]:
        """What profile() can capture: phases of profiles.capture, or "all" where the launcher cannot hold a phase; () for nothing."""
        ...

    def profile(
        self, live: LiveSettings, plan: LoadPlan, logdir: Path, run: str, session: str, timeout_s: float, phase: str
    ) -> Sequence[CaptureResult]:
        """Capture one of `profile_phases` outside any measured window, one file a host. Raises TrialFailed, EngineLost."""
        ...

    def close(self) -> None: ...


class Launcher(Protocol):
    name: str
    live_fields: frozenset[str]  # fields of LiveSettings that really are live here; the others need a new engine

    def open(self, settings: EngineSettings, timeout_s: float) -> EngineSession:
        """Start an engine. Raises TrialFailed (class STARTUP, OUT_OF_MEMORY, INVALID_CONFIG or TIMEOUT) with a log excerpt."""
        ...

    def close(self) -> None: ...
