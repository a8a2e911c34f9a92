"""How many rounds: stop a cell when it is decided or can hardly be decided any more, and all of them when the budget is spent. Pure.

Deciding early is paid for by `InterimPlan` (tuner.stats.sequential). Stopping for futility claims nothing, so it needs no correction; the
power it costs is printed by bench/null_and_power.py.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from tuner.metrics.catalog import Direction
from tuner.stats.intervals import EQUIVALENCE_RATIO, ERROR_RATE, Effect, Verdict, floor_of, judge_family, p_value
from tuner.stats.samples import expected_at
from tuner.stats.sequential import InterimPlan

FUTILITY_BELOW = 0.02  # give a cell up when its chance of a verdict by the last analysis is smaller
MIN_ROUNDS_TO_GIVE_UP = 8  # below that the noise itself is hardly known


@dataclass(frozen=True)
class RoundDecision[Key: Hashable]:
    """`open_cells` are worth another round; measuring stops when there is none. `reason`: "continue", "decided", "futility" or "budget".
    `unsure`: those of the open cells that have a verdict, but not yet at `sure_level`."""

    stop: bool
    reason: str
    effects: dict[Key, Effect]
    open_cells: tuple[Key, ...]
    decided: tuple[Key, ...]
    futile: tuple[Key, ...]
    unsure: tuple[Key, ...] = ()


def decide_rounds[Key: Hashable](
    log_ratios: Mapping[Key, Sequence[float]],
    direction: Direction,
    plan: InterimPlan,
    *,
    level: float = ERROR_RATE,
    rounds_done: int | None = None,
    budget_left_s: float | None = None,
    round_s: float | None = None,
    sure_level: float | None = None,
) -> RoundDecision[Key]:
    """Whether the next round is worth measuring, and for which cells. To be asked after every round.

    `sure_level`: a cell that is better or worse stays open until its p-value is at most this, so that a sentence about the whole study may
    count it (tuner.verdict.cell_claims), or until that can hardly be reached any more. None: its verdict is enough.
    `rounds_done` counts rounds measured, also where a pair was invalid; without it, the pairs of the cell that has most. A round
    that does not fit into the budget (`round_s` > `budget_left_s`) is not started.
    """
    effects = judge_family(log_ratios, direction, level=level, plan=plan)
    done = rounds_done if rounds_done is not None else max((effect.pairs for effect in effects.values()), default=0)
    floor = floor_of(log_ratios.values(), plan)
    unsure = tuple(
        key
        for key, effect in effects.items()
        if sure_level is not None and _is_unsure(log_ratios[key], effect, plan, level=sure_level, floor=floor)
    )
    decided = tuple(key for key, effect in effects.items() if effect.verdict.decided and key not in unsure)
    unlikely = {key for key, values in log_ratios.items() if chance_of_verdict(values, plan, floor=floor) < FUTILITY_BELOW}
    futile = tuple(key for key in log_ratios if key in unlikely and key not in decided and key not in unsure)
    open_cells = tuple(key for key in log_ratios if key not in decided and key not in futile)
    out_of_time = budget_left_s is not None and budget_left_s < (round_s or 0.0)
    if not open_cells:
        reason = "futility" if futile else "decided"
    elif done >= plan.last or out_of_time:
        reason = "budget"
    else:
        reason = "continue"
    return RoundDecision(
        stop=reason != "continue",
        reason=reason,
        effects=effects,
        open_cells=open_cells,
        decided=decided,
        futile=futile,
        unsure=unsure,
    )


def _is_unsure(log_ratios: Sequence[float], effect: Effect, plan: InterimPlan, *, level: float, floor: float) -> bool:
    """Better or worse, not yet at `level`, and with a chance to come there."""
    if effect.verdict not in (Verdict.BETTER, Verdict.WORSE) or p_value(log_ratios, plan=plan, floor=floor) <= level:
        return False
    return chance_of_verdict(log_ratios, plan, level=level, floor=floor) >= FUTILITY_BELOW


def chance_of_verdict(log_ratios: Sequence[float], plan: InterimPlan, *, level: float = ERROR_RATE, floor: float = 0.0) -> float:
    """The chance that a cell gets a verdict at the last analysis if mean and noise stay as they are (predictive power, normal noise).

    Rather too high than too low: it assumes that all other cells are decided, which gives this one the narrowest interval. 1.0 while
    there are too few pairs to estimate it.
    """
    if len(log_ratios) < max(MIN_ROUNDS_TO_GIVE_UP, plan.first):
        return 1.0
    pairs = len(log_ratios)
    if pairs >= plan.last:
        return 0.0
    final = expected_at(log_ratios, plan.last).at_least(floor)
    half = final.half_width(plan.level_at(plan.last, level))
    wander = final.sd * math.sqrt(1 / pairs - 1 / plan.last)
    margin = math.log(EQUIVALENCE_RATIO)
    if wander == 0:
        return float(abs(final.mean) > half or abs(final.mean) <= margin - half)
    ahead = NormalDist(final.mean, wander)
    different = 1 - (ahead.cdf(half) - ahead.cdf(-half))
    if half >= margin:
        return different
    equivalent = ahead.cdf(margin - half) - ahead.cdf(half - margin)
    return min(1.0, different + equivalent)
