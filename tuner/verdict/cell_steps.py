"""Steps and tokens of a compared cell in both arms, from what is stored with its windows. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from storage.records import Json, Measurement
from tuner.core.numbers import number
from tuner.verdict.step_cost import WindowSteps

_NEEDED = ("steps", "mean_step_ms", "scheduled_tokens_per_step", "padded_tokens_per_step")


@dataclass(frozen=True)
class ArmSteps:
    """Medians over a cell's paired windows. Tokens are of a whole window; `step_ms` is the mean time of a step."""

    steps: float
    scheduled_tokens: float
    padded_tokens: float
    prefill_tokens: float
    step_ms: float


@dataclass(frozen=True)
class CellSteps:
    """`same_*`: equal in both arms in every one of `rounds` rounds. `steady`: each arm's numbers are the same in all its rounds."""

    default: ArmSteps
    page_aligned: ArmSteps
    rounds: int
    same_steps: bool
    same_tokens: bool
    same_padding: bool
    steady: bool

    @property
    def identical(self) -> bool:
        return self.same_steps and self.same_tokens and self.same_padding


def window_steps(window: Measurement) -> WindowSteps | None:
    """None where the launcher saw no steps, or a table says what no steps can be."""
    steps, step_ms, scheduled, padded = map(window.metrics.get, _NEEDED)
    if not steps or not step_ms or not scheduled or not padded:
        return None
    found = WindowSteps(
        steps=round(steps),
        scheduled_tokens=round(steps * scheduled),
        padded_tokens=round(steps * padded),
        prefill_tokens=round(steps * window.metrics.get("prefill_tokens_per_step", 0.0)),
        engine_ms=float(steps * step_ms),
    )
    return found if min(found.steps, found.scheduled_tokens, found.padded_tokens) >= 1 and found.engine_ms > 0 else None


def cell_steps(default: Mapping[int, WindowSteps], page_aligned: Mapping[int, WindowSteps], rounds: Sequence[int]) -> CellSteps | None:
    """`default`, `page_aligned`: round -> window. None where no round of `rounds` saw the steps of both arms."""
    pairs = [(default[number], page_aligned[number]) for number in rounds if number in default and number in page_aligned]
    if not pairs:
        return None
    sides = [one for one, _ in pairs], [other for _, other in pairs]
    return CellSteps(
        default=_arm(sides[0]),
        page_aligned=_arm(sides[1]),
        rounds=len(pairs),
        same_steps=all(one.steps == other.steps for one, other in pairs),
        same_tokens=all(one.scheduled_tokens == other.scheduled_tokens for one, other in pairs),
        same_padding=all(one.padded_tokens == other.padded_tokens for one, other in pairs),
        steady=all(len({(item.steps, item.scheduled_tokens, item.padded_tokens) for item in side}) == 1 for side in sides),
    )


def in_words(found: CellSteps) -> str:
    """ "the same 49 steps and tokens, 7.2 % more padded tokens"."""
    one, other = found.default, found.page_aligned
    same = [getattr(one, name) == getattr(other, name) for name in ("steps", "scheduled_tokens", "padded_tokens")]
    if all(same):
        mostly = "" if found.identical else "mostly "  # on median: some rounds differ
        return f"{mostly}identical schedules and padding ({number(one.steps)} steps)"
    mostly = "" if found.same_steps else "mostly "
    if same[0] and same[1]:
        start = f"{mostly}the same {number(one.steps)} steps and tokens"
    elif same[0]:
        start = f"{mostly}the same {number(one.steps)} steps, {_more(one.scheduled_tokens, other.scheduled_tokens)} scheduled tokens"
    else:
        start = f"{number(other.steps)} steps against {number(one.steps)}"
        if not same[1]:
            start += f", {_more(one.scheduled_tokens, other.scheduled_tokens)} scheduled tokens"
    if same[2]:
        return f"{start}, as many padded tokens"
    return f"{start}, {_more(one.padded_tokens, other.padded_tokens)} padded tokens"


def _more(before: float, after: float) -> str:
    """ "7.2 % more", "2.1 times the"."""
    change = after / before - 1
    if change >= 1:
        return f"{after / before:.1f} times the"
    return f"{100 * abs(change):.2g} % {'more' if change > 0 else 'fewer'}"


def to_json(found: CellSteps) -> Json:
    """The numbers of both arms, and the changes as fractions."""
    one, other = asdict(found.default), asdict(found.page_aligned)
    changes = {name: other[name] / value - 1 if value else None for name, value in one.items()}
    same = {"rounds": found.rounds, "identical": found.identical, "steady": found.steady}
    return {"default": one, "page_aligned": other, "changes": changes, **same}


def _arm(windows: Sequence[WindowSteps]) -> ArmSteps:
    return ArmSteps(
        steps=statistics.median(item.steps for item in windows),
        scheduled_tokens=statistics.median(item.scheduled_tokens for item in windows),
        padded_tokens=statistics.median(item.padded_tokens for item in windows),
        prefill_tokens=statistics.median(item.prefill_tokens for item in windows),
        step_ms=statistics.median(item.engine_ms / item.steps for item in windows),
    )
