"""What a profile session is to record, and what a recorded step was: pure planning. The process that owns the engine records it.

Phases follow tpu-inference's phased profiler: the fraction of prefill tokens among the scheduled ones decides (`runner/utils.py`,
`determine_phase_from_batch_composition_stats`). Names are those of storage: "prefill" (prefill-heavy), "decode" (decode-heavy), "mixed".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from profiles.errors import ProfileError

PREFILL, DECODE, MIXED = "prefill", "decode", "mixed"
PHASES = (PREFILL, DECODE, MIXED)
ALL = "all"  # every step, whatever its phase
OTHER = "other"  # between the phases: counted under "all" only
PREFILL_AT_LEAST, DECODE_AT_MOST, MIXED_FROM, MIXED_TO = 0.9, 0.2, 0.4, 0.6
STEPS_PER_PHASE = 15  # as tpu-inference's phased profiler
_BYTES_PER_STEP = {"cpu": 50_000, "tpu": 400_000}  # CPU: measured on the real engine (2 layers, XLA:CPU); TPU: a guess on the safe side
_BYTES_OF_PROGRAMS = 8_000_000  # HLO modules, whatever the number of steps
_PATIENCE = 4  # times as many steps as wanted: an engine that does not keep to the phase by then is not traced any longer


class StepLike(Protocol):
    """The fields of tuner's StepRecord that are needed here, so that this package imports no sibling."""

    @property
    def start_s(self) -> float: ...
    @property
    def duration_s(self) -> float: ...
    @property
    def scheduled_tokens(self) -> int: ...
    @property
    def padded_tokens(self) -> int: ...
    @property
    def prefill_tokens(self) -> int: ...
    @property
    def prefill_requests(self) -> int: ...
    @property
    def decode_requests(self) -> int: ...


@dataclass(frozen=True)
class StepComposition:
    """What one engine step computed. `start_s` and `duration_s` are the host's clock, counted from anywhere; 0 where unknown."""

    scheduled_tokens: int
    padded_tokens: int
    prefill_tokens: int
    prefill_requests: int
    decode_requests: int
    start_s: float = 0.0
    duration_s: float = 0.0

    @property
    def prefill_fraction(self) -> float:
        return self.prefill_tokens / self.scheduled_tokens if self.scheduled_tokens else 0.0

    @property
    def phase(self) -> str:
        return phase_of(self.prefill_fraction)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def composition(step: StepLike) -> StepComposition:
    """From a step record, whatever its class."""
    return StepComposition(
        scheduled_tokens=step.scheduled_tokens,
        padded_tokens=step.padded_tokens,
        prefill_tokens=step.prefill_tokens,
        prefill_requests=step.prefill_requests,
        decode_requests=step.decode_requests,
        start_s=step.start_s,
        duration_s=step.duration_s,
    )


def phase_of(prefill_fraction: float) -> str:
    """The phase of a step by its fraction of prefill tokens, or OTHER in between."""
    if prefill_fraction >= PREFILL_AT_LEAST:
        return PREFILL
    if prefill_fraction <= DECODE_AT_MOST:
        return DECODE
    return MIXED if MIXED_FROM <= prefill_fraction <= MIXED_TO else OTHER


@dataclass(frozen=True)
class PhasePlan:
    """Which phases to capture, how many steps of each, and no more than `max_bytes` of trace."""

    phases: tuple[str, ...] = PHASES
    steps_per_phase: int = STEPS_PER_PHASE
    max_bytes: int = 64_000_000

    def __post_init__(self) -> None:
        unknown = [phase for phase in self.phases if phase not in PHASES]
        if unknown or not self.phases:
            raise ProfileError(f"phases {', '.join(unknown) or 'none'}: use some of {', '.join(PHASES)}")
        if self.steps_per_phase < 1:
            raise ProfileError(f"steps per phase {self.steps_per_phase}: use 1 or more")

    def most_steps(self, platform: str) -> int:
        """Steps of any kind after which a session has to end, so that it stays under `max_bytes`; at least 1."""
        by_size = (self.max_bytes - _BYTES_OF_PROGRAMS) // _BYTES_PER_STEP.get(platform, max(_BYTES_PER_STEP.values()))
        return max(1, min(by_size, _PATIENCE * self.steps_per_phase * len(self.phases)))


@dataclass
class PhaseProgress:
    """Counts the profiled steps, step by step, until the plan is met."""

    plan: PhasePlan
    platform: str
    seen: Counter[str] = field(default_factory=Counter)

    def note(self, steps: Iterable[StepComposition]) -> None:
        self.seen.update(step.phase for step in steps)

    def missing(self) -> tuple[str, ...]:
        """Phases of which there are too few steps so far."""
        return tuple(phase for phase in self.plan.phases if self.seen[phase] < self.plan.steps_per_phase)

    def finished(self) -> bool:
        """Everything was seen, or the trace is as large as it may be."""
        return not self.missing() or self.seen.total() >= self.plan.most_steps(self.platform)


def profile_options(platform: str, session_id: str | None = None) -> dict[str, Any]:
    """Attributes for jax.profiler.ProfileOptions; `advanced_configuration` is a dict of its own.

    Python tracing is off (it would dominate the file). On CPU host_tracer_level must not be 0: the HLO events are host events there. On TPU
    one chip's compute is traced; all chips of a slice run the same program. Raises ProfileError for another platform.
    """
    options: dict[str, Any] = {"python_tracer_level": 0, "host_tracer_level": 2, "enable_hlo_proto": True}
    if platform == "tpu":
        options["advanced_configuration"] = {"tpu_trace_mode": "TRACE_COMPUTE", "tpu_num_chips_to_profile_per_task": 1}
    elif platform != "cpu":
        raise ProfileError(f"platform {platform!r}: profiles can be captured on cpu or tpu")
    if session_id is not None:
        options["session_id"] = session_id
    return options


@dataclass(frozen=True)
class Join:
    """Which record belongs to which profiled step: `record` [steps] holds indices, -1 where there is none. `how` names the method."""

    record: tuple[int, ...]
    how: str  # "count" (as many records as steps), "time" (the shift that fits best) or "none"
    residual_ms: float | None = None  # median distance of the starts after the best shift


def join_by_start(profiled_start_ms: Sequence[float], recorded_start_ms: Sequence[float]) -> Join:
    """Match profiled steps with records in order. The two clocks differ by a constant that nobody knows.

    Equally many records and steps are matched one to one. Otherwise the shorter list is shifted along the longer one, and the shift wins
    at which the differences between the starts vary least; a tie means no join.
    """
    import numpy as np  # late: the process that waits for an engine's commands does without

    steps, records = np.asarray(profiled_start_ms, np.float64), np.asarray(recorded_start_ms, np.float64)
    if not len(steps) or not len(records):
        return Join((-1,) * len(steps), "none")
    short, long = sorted((len(steps), len(records)))
    spreads = []
    for shift in range(long - short + 1):
        pair = (steps[shift : shift + short], records[:short]) if len(steps) > len(records) else (steps, records[shift : shift + short])
        distance = pair[0] - pair[1]
        spreads.append(float(np.median(np.abs(distance - np.median(distance)))))
    best = int(np.argmin(spreads))
    if short != long and (short < 3 or sum(spread <= spreads[best] * 1.5 for spread in spreads) > 1):
        return Join((-1,) * len(steps), "none")
    how = "count" if short == long else "time"
    if len(steps) > len(records):
        return Join(tuple(index - best if best <= index < best + short else -1 for index in range(len(steps))), how, spreads[best])
    return Join(tuple(index + best for index in range(len(steps))), how, spreads[best])


def composition_from_marker(requests: int, tokens: int) -> StepComposition:
    """What `execute_model: N reqs, M toks` says: every request decodes one token or prefills; tokens beyond one a request are prefill.

    The true fraction of prefill tokens may be higher, because a request may prefill a single token: by at most N of the M tokens.
    """
    if tokens <= requests:
        return StepComposition(tokens, tokens, 0, 0, requests)
    return StepComposition(tokens, tokens, tokens - requests, 1, requests - 1)


def count_phases(steps: Iterable[StepComposition | None]) -> Mapping[str, int]:
    """How many steps of each phase; steps without a record do not count."""
    return Counter(step.phase for step in steps if step is not None)
