"""Why one trial's windows take longer than another's: more steps, or longer ones, and of what. Pure.

A window's engine time is the sum of its steps. With n steps of mean time m in each phase, the difference of two sides is exactly

    sum over phases of (n1 - n0) * (m0 + m1) / 2   more or fewer steps
                     + (m1 - m0) * (n0 + n1) / 2   longer or shorter ones

(Marshall-Edgeworth weights, so that a swap of the sides only changes the signs). Profiles explain the second line by category.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from profiles.classify import Category
from profiles.diff import Measured, ProfileDiff
from profiles.session_plan import PHASES
from storage.records import Measurement
from tuner.stats.intervals import log_mean_interval, welch_interval
from tuner.verdict.evidence import origin_of
from tuner.verdict.profile_sessions import measured_step_ms

_SHOWN, _REASONS = 4, 3  # categories named for a phase, reasons named for the whole
_PAIRS = 3  # rounds of one engine from which on two windows are compared round by round
_WORTH_A_LINE = 0.005  # of the engine time: smaller parts of a difference are not told

Pair = tuple[float, float]
Sides = tuple[Sequence[Measurement], Sequence[Measurement]]  # windows of the baseline and the candidate


@dataclass(frozen=True)
class PhasePart:
    """One phase's part of the difference, milliseconds a window. Pairs are (baseline, candidate).

    `profiled_ms` is what the profiles show of `by_time_ms`; None where the phase was not profiled on both sides.
    """

    phase: str
    steps: Pair
    step_ms: Pair
    by_number_ms: float
    by_time_ms: float
    profiled_ms: float | None


@dataclass(frozen=True)
class EndToEnd:
    """Engine time of a mean window, candidate against baseline. `low` and `high` are the 95 % interval of the ratio, None where there are
    too few windows; `explained` is the fraction of the difference that step counts and profiles account for, None where the difference may
    be chance."""

    windows: tuple[int, int]
    engine_ms: Pair
    ratio: float
    low: float | None
    high: float | None
    phases: tuple[PhasePart, ...]
    explained: float | None

    @property
    def decided(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 1.0 <= self.high

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Reason:
    """One part of a difference, milliseconds a window; `what` as people say it."""

    what: str
    ms: float


def end_to_end(baseline: Sequence[Measurement], candidate: Sequence[Measurement], diffs: Sequence[ProfileDiff]) -> EndToEnd | None:
    """None where a side has no valid window that recorded its steps, or the two did other work (workload_hash)."""
    sides = _with_steps(baseline), _with_steps(candidate)
    if not all(sides) or len({item.details.get("workload_hash") for side in sides for item in side}) > 1:
        return None
    engine = _mean_over(sides, engine_ms)
    low, high = _ratio_interval(sides, engine_ms) or (None, None)
    names = sorted({name for side in sides for item in side for name in item.details["phases"]}, key=_in_order)
    phases = tuple(_phase_part(name, sides, diffs) for name in names)
    found = EndToEnd(
        windows=(len(sides[0]), len(sides[1])),
        engine_ms=engine,
        ratio=engine[1] / engine[0],
        low=low,
        high=high,
        phases=phases,
        explained=None,
    )
    accounted = sum(item.by_number_ms + (item.profiled_ms or 0.0) for item in phases)
    return replace(found, explained=accounted / (engine[1] - engine[0])) if found.decided else found


def engine_ms(window: Measurement) -> float:
    """The summed time of a window's steps."""
    return float(sum(milliseconds for _, milliseconds in window.details["phases"].values()))


def measured_steps(baseline: Sequence[Measurement], candidate: Sequence[Measurement], phase: str) -> Measured | None:
    """Mean step times of a phase in the windows of two trials, with the interval of their difference; None where one has no such step."""
    means = measured_step_ms(baseline, phase), measured_step_ms(candidate, phase)
    if means[0] is None or means[1] is None:
        return None
    sides = [[item for item in side if measured_step_ms([item], phase) is not None] for side in (baseline, candidate)]
    bounds = _ratio_interval((sides[0], sides[1]), lambda item: measured_step_ms([item], phase) or 0.0)
    return Measured(means[0], means[1], *((means[0] * (bound - 1) for bound in bounds) if bounds is not None else ()))


def reasons(found: EndToEnd, diffs: Sequence[ProfileDiff]) -> list[Reason]:
    """What pushes the engine time the way it went, the strongest first: numbers of steps, and categories whose change is no chance."""
    direction = found.engine_ms[1] - found.engine_ms[0]
    parts = [Reason(f"{'more' if item.by_number_ms > 0 else 'fewer'} {item.phase} steps", item.by_number_ms) for item in found.phases]
    for item in found.phases:
        difference = _of_phase(diffs, item.phase)
        for row in difference.categories if difference is not None else ():
            if row.changed and row.category != Category.LOOP_CONTROL:  # a window is not traced
                less = "more" if row.difference_ms > 0 else "less"
                by = f"{abs(row.ratio - 1):.0%} {less}" if row.ratio else less
                parts.append(Reason(f"{row.category} takes {by} of a {item.phase} step", sum(item.steps) / 2 * row.difference_ms))
    return sorted((part for part in parts if part.ms * direction > 0), key=lambda part: -abs(part.ms))


def in_words(found: EndToEnd, diffs: Sequence[ProfileDiff], labels: tuple[str, str]) -> list[str]:
    """The answer as lines: what happened and mostly why, then each phase that matters."""
    before, after = found.engine_ms
    change = f"{found.ratio - 1:+.1%}" + (f" [{found.low - 1:+.1%}, {found.high - 1:+.1%}]" if found.low and found.high else "")
    lines = [f"engine time of a window: {after:.1f} ms ({labels[1]}) against {before:.1f} ms ({labels[0]}), {change}"]
    if not found.decided:
        lines.append("that may be chance: there is no difference to explain")
    elif strongest := [part for part in reasons(found, diffs) if abs(part.ms) > _WORTH_A_LINE * before][:_REASONS]:
        lines.append("mostly because: " + "; ".join(f"{part.what} ({part.ms:+.1f} ms)" for part in strongest))
    for item in found.phases:
        if abs(item.by_number_ms) + abs(item.by_time_ms) > _WORTH_A_LINE * before:
            lines += _phase_lines(item, _of_phase(diffs, item.phase))
    if found.explained is not None:
        lines.append(f"step counts and profiles account for {found.explained:.0%} of the difference")
    return lines


def _phase_lines(item: PhasePart, difference: ProfileDiff | None) -> list[str]:
    numbers, times = item.steps, item.step_ms
    number = f"{item.phase}: {numbers[1]:.1f} steps against {numbers[0]:.1f} ({item.by_number_ms:+.1f} ms)"
    lines = [f"{number}, each {times[1]:.3f} ms against {times[0]:.3f} ({item.by_time_ms:+.1f} ms)"]
    if difference is None:
        return lines
    rows = sorted((row for row in difference.categories if row.changed), key=lambda row: -abs(row.difference_ms))[:_SHOWN]
    parts = [f"{row.category} {row.difference_ms:+.3f} ms" for row in rows]
    if difference.batches[0] is not None and difference.batches[1] is not None:
        padding = difference.batches[0]["padding"], difference.batches[1]["padding"]
        parts += [f"padding {padding[1]:.0f} tokens against {padding[0]:.0f}"] if abs(padding[1] - padding[0]) >= 1 else []
    return [*lines, f"  in the profile of a step: {', '.join(parts)}"] if parts else lines


def _phase_part(phase: str, sides: Sides, diffs: Sequence[ProfileDiff]) -> PhasePart:
    steps = _mean_over(sides, lambda item: item.details["phases"].get(phase, (0, 0.0))[0])
    total = _mean_over(sides, lambda item: item.details["phases"].get(phase, (0, 0.0))[1])
    step_ms = [milliseconds / count if count else 0.0 for count, milliseconds in zip(steps, total, strict=True)]
    if not all(steps):  # a phase of one side only: all of it is its number of steps
        return PhasePart(phase, steps, (step_ms[0], step_ms[1]), total[1] - total[0], 0.0, None)
    mean_steps, difference = sum(steps) / 2, _of_phase(diffs, phase)
    return PhasePart(
        phase=phase,
        steps=steps,
        step_ms=(step_ms[0], step_ms[1]),
        by_number_ms=(steps[1] - steps[0]) * sum(step_ms) / 2,
        by_time_ms=(step_ms[1] - step_ms[0]) * mean_steps,
        profiled_ms=mean_steps * difference.step.difference_ms if difference is not None else None,
    )


def _ratio_interval(sides: Sides, value: Callable[[Measurement], float]) -> Pair | None:
    """95 % interval of candidate over baseline: by pairs of one round where one engine measured both, else of two independent samples."""
    rounds = [{(origin_of(item), item.round): value(item) for item in side} for side in sides]
    pairs = [rounds[1][key] / rounds[0][key] for key in rounds[0] if key in rounds[1] and rounds[0][key] > 0]
    if len(pairs) >= _PAIRS:
        return log_mean_interval(pairs)
    return welch_interval([value(item) for item in sides[1]], [value(item) for item in sides[0]])


def _with_steps(windows: Sequence[Measurement]) -> list[Measurement]:
    return [item for item in windows if item.valid and item.details.get("phases") and engine_ms(item) > 0]


def _mean_over(sides: Sides, value: Callable[[Measurement], float]) -> Pair:
    baseline, candidate = (sum(map(value, side)) / len(side) for side in sides)
    return baseline, candidate


def _of_phase(diffs: Sequence[ProfileDiff], phase: str) -> ProfileDiff | None:
    return next((item for item in diffs if item.phase == phase), None)


def _in_order(phase: str) -> int:
    return PHASES.index(phase) if phase in PHASES else len(PHASES)
