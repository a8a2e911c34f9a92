"""What a simulated engine is asked and answers, over the wire of tuner.engine.protocol.

| operation | message | answer |
|---|---|---|
| `start` | StartSimulated | StartReport |
| `load` | SimulatedLoad | Nothing |
| `reconfigure` | Reconfigure (tuner.engine.messages) | Nothing |
| `measure` | Simulate | Simulated |
| `shutdown` | Nothing | Nothing |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tuner.engine.replay import Load
from tuner.engine.step_costs import StepCosts

Json = dict[str, Any]


@dataclass(frozen=True)
class StartSimulated:
    """`engine_args`: keyword arguments of vLLM's EngineArgs, with num_gpu_blocks_override."""

    engine_args: Json
    costs: StepCosts


@dataclass(frozen=True)
class SimulatedLoad:
    """A load to be kept under `key`; one at a time is."""

    key: str
    load: Load


@dataclass(frozen=True)
class Simulate:
    """One window of the load `key`. `timeout_s`: of the window's own time. `arrivals`: what arrival times are multiplied by; `costs`: what
    all seconds of steps are."""

    key: str
    seed: tuple[int, ...]
    timeout_s: float
    stop_when_saturated: bool
    arrivals: float
    costs: float


@dataclass(frozen=True)
class SimulatedRequest:
    """As tuner.engine.replay.Sent."""

    request_id: str
    planned_s: float
    sent_s: float
    runs: tuple[tuple[int, int], ...]
    cached_tokens: int
    preemptions: int
    finished_s: float | None


@dataclass(frozen=True)
class SimulatedSteps:
    """As tuner.engine.replay.Steps."""

    start_s: tuple[float, ...]
    duration_s: tuple[float, ...]
    scheduled_tokens: tuple[int, ...]
    padded_tokens: tuple[int, ...]
    prefill_tokens: tuple[int, ...]
    prefill_requests: tuple[int, ...]
    decode_requests: tuple[int, ...]


@dataclass(frozen=True)
class Simulated:
    """`started_at`: Unix seconds; `wall_s`, `cpu_s`: how long the simulation itself took, and how much of a core; the rest as
    tuner.engine.replay.Replayed."""

    requests: tuple[SimulatedRequest, ...]
    steps: SimulatedSteps
    started_at: float
    duration_s: float
    wall_s: float
    cpu_s: float
    stopped: str | None
    asked: int
    held_back: int
