"""What the tuner asks its engine host, its command host and an engine, and what they answer.

Each operation has a message; fields travel by name (wire_fields.py). Change a message, and PROTOCOL_VERSION in protocol.py goes up by one.

| to | operation | message | answer |
|---|---|---|---|
| both hosts | `status` | Status | Exit |
| engine host | `fork`, with one file descriptor attached: the new engine's socket | Fork | Forked |
| command host | `run` | Run | Forked |
| engine | `start` | Start | StartReport |
| engine | `report`, `shutdown` | Nothing | StartReport, Nothing |
| engine | `reconfigure` | Reconfigure | Nothing |
| engine | `measure` | Measure | Measured |
| engine | `answer` | Answer | Answers |
| engine | `profile` | Profile | Profiled |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tuner.core.contract import Answered, LoadPlan, RequestRecord, StepRecord
from tuner.workload.phases import PhaseLoad

Json = dict[str, Any]


@dataclass(frozen=True)
class Nothing:
    """A message or an answer without content."""


@dataclass(frozen=True)
class Status:
    pid: int


@dataclass(frozen=True)
class Exit:
    """`exit`: the exit code (negative: the signal that ended the process), None while it runs."""

    exit: int | None


@dataclass(frozen=True)
class Fork:
    log_path: str
    env: dict[str, str]


@dataclass(frozen=True)
class Run:
    """Run `main()` of `module` with `argv`."""

    module: str
    argv: tuple[str, ...]
    log_path: str


@dataclass(frozen=True)
class Forked:
    """`pid` is the process group as well."""

    pid: int


@dataclass(frozen=True)
class Start:
    """`engine_args`: keyword arguments of vLLM's EngineArgs."""

    engine_args: Json


@dataclass(frozen=True)
class Reconfigure:
    """The live settings, named as the plugin's EngineCore.tuner_reconfigure has them."""

    page_aligned: bool
    page_wise_kv: bool
    max_num_scheduled_tokens: int
    max_num_running_reqs: int
    long_prefill_token_threshold: int | None


@dataclass(frozen=True)
class Measure:
    plan: LoadPlan
    timeout_s: float


@dataclass(frozen=True)
class Measured:
    """One window. `tokens`: output token ids by request; `started_at`: Unix seconds; the rest as in tuner.core.contract.WindowResult."""

    requests: tuple[RequestRecord, ...]
    tokens: dict[str, tuple[int, ...]]
    steps: tuple[StepRecord, ...]
    started_at: float
    duration_s: float
    compilations: int
    output_digest: str
    stopped: str | None
    details: Json


@dataclass(frozen=True)
class Answer:
    plan: LoadPlan
    timeout_s: float


@dataclass(frozen=True)
class Answers:
    """In the plan's order."""

    answers: tuple[Answered, ...]


@dataclass(frozen=True)
class Profile:
    """Capture `steps` steps of the load's phase, at most `max_bytes` of trace, into `logdir`/`run`/plugins/profile/`session`."""

    load: PhaseLoad
    logdir: str
    run: str
    session: str
    timeout_s: float
    steps: int
    max_bytes: int


@dataclass(frozen=True)
class Profiled:
    """`path`: the .xplane.pb file; `settling_steps`: how many steps the engine took to come into the phase."""

    path: str
    host: str
    size_bytes: int
    steps: tuple[StepRecord, ...]
    compilations: int
    settling_steps: int
