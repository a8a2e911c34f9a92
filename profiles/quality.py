"""Whether a profile can be trusted: each check that fails is a named problem, stored with the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.classify import GAPS, Category
from profiles.reader import HostProfile
from profiles.session_plan import Join, StepComposition, count_phases
from profiles.steps import Steps
from profiles.timeline import DeviceTimeline

INCOMPLETE_BELOW = 0.9  # a run with fewer different ops than this fraction of the usual number lost events
STEADY_WITHIN = 1.25  # the last third of the steps of one shape may be this much slower or faster than the first
SKEW_WITHIN = 0.01
LONG_OP_PS = 10**9  # ops over 1 ms: alignment errors of short ops are rounding
ATTRIBUTED_AT_LEAST = 0.95
_STEADY_STEPS = 6  # fewer steps of one shape say nothing about drift
_RETRY = frozenset({"dropped_events", "compiled", "incomplete_steps", "phases_missing", "few_steps", "unsteady", "join_doubtful"})


@dataclass(frozen=True)
class Quality:
    """`problems` is empty for a good profile. Ratios are plain numbers (1.0 = no change)."""

    problems: tuple[str, ...]
    steps: int  # closed steps, the ones that count
    dropped_events: int
    incomplete_runs: int
    compilations: int
    compile_ms: float
    missing_phases: tuple[str, ...]
    phase_steps: dict[str, int]
    drift: float | None  # last third over first third of the periods, the kind of step that drifts most; None: too few steps
    clock_skew: float | None  # aligned time over device time of all ops, minus 1; None: only one clock
    long_ops_skewed: float | None  # fraction of ops over 1 ms whose two durations differ by more than 1 %
    attributed: float  # fraction of busy time in a named category
    join: str
    join_residual_ms: float | None
    programs_without_hlo: int
    unequal_devices: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def retry(self) -> bool:
        """Whether another session may be better."""
        return any(problem in _RETRY for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "retry": self.retry, **asdict(self)}


def assess(
    profile: HostProfile, steps: Steps, batch: Sequence[StepComposition | None], join: Join, planned_phases: Sequence[str]
) -> Quality:
    """Judge a profile. `batch` [steps] is what each step computed, `planned_phases` what the profile was meant to hold, [] if nothing."""
    tokens = [each.scheduled_tokens if each is not None else None for each in batch]
    phase_steps = count_phases(each for each, closed in zip(batch, steps.closed.tolist(), strict=True) if closed)
    skew, long_skewed = _clock_skew(profile.devices)
    missing = tuple(phase for phase in planned_phases if not phase_steps.get(phase, 0))
    drift = _drift(steps, tokens)
    in_loop = np.array([kind.in_loop or kind.container for kind in profile.op_types], np.bool_)
    incomplete = sum(_incomplete_runs(device, in_loop) for device in profile.devices)
    attributed = _attributed(steps)
    closed = int(steps.closed.sum()) if len(steps.closed) > 1 else 0
    doubtful = join.residual_ms is not None and join.residual_ms > float(np.median(steps.period_ms))
    checks = {
        "dropped_events": profile.dropped > 0 or any("drop" in note.lower() for note in profile.notes),
        "incomplete_steps": incomplete > 0,
        "compiled": profile.host.compilations > 0,
        "phases_missing": bool(missing),
        "few_steps": closed < 3,
        "unsteady": drift is not None and not 1 / STEADY_WITHIN <= drift <= STEADY_WITHIN,
        "clock_skew": skew is not None and abs(skew) > SKEW_WITHIN,
        "unattributed": attributed < ATTRIBUTED_AT_LEAST,
        "join_doubtful": doubtful,
        "devices_differ": bool(steps.unequal_devices),
    }
    return Quality(
        problems=tuple(name for name, found in checks.items() if found),
        steps=closed,
        dropped_events=profile.dropped,
        incomplete_runs=incomplete,
        compilations=profile.host.compilations,
        compile_ms=profile.host.compile_ps / 1e9,
        missing_phases=missing,
        phase_steps=dict(phase_steps),
        drift=drift,
        clock_skew=skew,
        long_ops_skewed=long_skewed,
        attributed=attributed,
        join=join.how,
        join_residual_ms=join.residual_ms,
        programs_without_hlo=len(profile.programs_without_hlo),
        unequal_devices=steps.unequal_devices,
    )


def _incomplete_runs(device: DeviceTimeline, in_loop: NDArray[np.bool_]) -> int:
    """Runs that show clearly fewer different ops than other runs of the same program. Bodies of loops are left out: they may not run."""
    counted = (device.run >= 0) & ~in_loop[device.op]
    pairs = np.unique(device.run[counted].astype(np.int64) * len(in_loop) + device.op[counted])
    different = np.bincount(pairs // len(in_loop), minlength=len(device.runs.run_id))
    total = 0
    for program in np.unique(device.runs.program_id):
        kinds = different[device.runs.program_id == program]
        total += int((kinds < INCOMPLETE_BELOW * np.median(kinds)).sum())
    return total


def _drift(steps: Steps, tokens: Sequence[int | None]) -> float | None:
    """Only steps of one compiled shape that computed as many tokens are like each other."""
    alike = list(zip(steps.shape.tolist(), tokens, strict=True))
    ratios = []
    for kind in dict.fromkeys(alike):
        periods = steps.span_ms[np.array([each == kind for each in alike], np.bool_) & steps.closed]
        if len(periods) >= _STEADY_STEPS:
            third = len(periods) // 3
            before = float(np.median(periods[:third]))
            if before > 0:
                ratios.append(float(np.median(periods[-third:])) / before)
    return max(ratios, key=lambda ratio: abs(np.log(max(ratio, 1e-9)))) if ratios else None


def _clock_skew(devices: Sequence[DeviceTimeline]) -> tuple[float | None, float | None]:
    own = [device for device in devices if device.clock == "device"]
    if not own:
        return None, None
    device_ps = np.concatenate([device.end_ps - device.start_ps for device in own])
    aligned_ps = np.concatenate([device.aligned_end_ps - device.aligned_start_ps for device in own])
    total = float(device_ps.sum())
    long = device_ps > LONG_OP_PS
    off = np.abs(aligned_ps[long] - device_ps[long]) > SKEW_WITHIN * device_ps[long]
    return (float(aligned_ps.sum()) / total - 1 if total else None), (float(off.mean()) if len(off) else 0.0)


def _attributed(steps: Steps) -> float:
    total = {category: float(steps.category(category)[steps.closed].sum()) for category in Category}
    busy = sum(time for category, time in total.items() if category not in GAPS)
    return 1 - total[Category.UNATTRIBUTED] / busy if busy > 0 else 1.0
