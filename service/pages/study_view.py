"""What the page of a study shows, made from its records. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from service.pages.format import number
from service.pages.slo_view import Margin, misses
from storage.records import Stage, Study, Trial, TrialState
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.core.errors import BadInput
from tuner.core.factors import ArmCell, factors_in, factors_of, in_arm, in_order
from tuner.metrics.objective import Objective
from tuner.report.effects import HeatCell
from tuner.serving.stored_settings import conditions_of
from tuner.setup.stored_study import StoredStudy
from tuner.verdict.conclude import study_objectives
from tuner.verdict.evidence import place_of

MOST_MAPS = 8  # of a study with further factors

_COST_PARTS = ("measure", "start", "warm_up", "profile", "other")


@dataclass(frozen=True)
class HistoryPoint:
    order: int
    arm: str
    value: float
    best: float
    trial: Trial


@dataclass(frozen=True)
class CostPart:
    name: str
    seconds: float
    fraction: float


def primary_objective(study: Study) -> Objective | None:
    """The first objective; None where what is stored of the study cannot be read."""
    try:
        StoredStudy.from_record(study)
        return study_objectives(study)[0]
    except BadInput:
        return None


def heat_cells(
    trials: Sequence[Trial],
    objective: Objective,
    winner: ArmCell | None,
    margins: Mapping[int, Sequence[Margin]] = MappingProxyType({}),
) -> list[HeatCell]:
    """The best search trial of each arm and cell, in the order of arms, factors, page sizes and budgets. `winner`: what is recommended.
    `margins`: trial id -> how far it is inside each SLO. Where there would be too many maps, each cell is the best over the factors."""
    maps = {(trial.arm, factors_of(trial.factors)) for trial in trials if trial.stage is Stage.SEARCH}
    apart = len(maps) <= MOST_MAPS
    best: dict[ArmCell, Trial] = {}
    for trial in trials:
        if trial.stage is Stage.SEARCH:
            key = in_arm(trial.arm, place_of(trial) if apart else (trial.block_size, trial.max_num_batched_tokens))
            if key not in best or _beats(trial, best[key], objective):
                best[key] = trial
    ordered = sorted(best.items(), key=lambda item: (item[0][0], in_order(factors_in(item[0][1:])), item[0][1:3]))
    return [
        _heat_cell(trial, objective, winner=in_arm(trial.arm, place_of(trial)) == winner, missed=misses(margins, trial.id), apart=apart)
        for _, trial in ordered
    ]


def _heat_cell(trial: Trial, objective: Objective, *, winner: bool, missed: tuple[str, ...], apart: bool) -> HeatCell:
    value = value_of(trial, objective)
    return HeatCell(
        arm=trial.arm,
        block_size=trial.block_size,
        max_num_batched_tokens=trial.max_num_batched_tokens,
        value=value,
        label=state_word(trial) if value is None else number(value),
        trial_id=trial.id,
        winner=winner,
        misses=missed,
        factors=factors_of(trial.factors) if apart else (),
    )


def value_of(trial: Trial, objective: Objective) -> float | None:
    """What a completed trial reached; nothing else has a value."""
    value = (trial.values or {}).get(objective.name) if trial.state is TrialState.COMPLETE else None
    return float(value) if isinstance(value, int | float) else None


def state_word(trial: Trial) -> str:
    """One word for what became of a trial without a value."""
    if trial.state is TrialState.FAIL:
        return "failed"
    if trial.state is TrialState.PRUNED:
        return next((word for word in ("skipped", "infeasible") if word in trial.notes), "pruned")
    return trial.state.value.lower()


def history_of(trials: Sequence[Trial], objective: Objective) -> list[HistoryPoint]:
    """Completed search trials in the order they finished, with the best value so far."""
    finished = [(trial, value) for trial in trials if trial.stage is Stage.SEARCH and (value := value_of(trial, objective)) is not None]
    points: list[HistoryPoint] = []
    for order, (trial, value) in enumerate(sorted(finished, key=lambda pair: (pair[0].finished_at or 0.0, pair[0].number)), 1):
        best = value if not points or objective.is_better(value, points[-1].best) else points[-1].best
        points.append(HistoryPoint(order, trial.arm, value, best, trial))
    return points


def cost_parts(study: Study) -> list[CostPart]:
    """Phases of the search's wall time, in a fixed order; empty before anything was spent."""
    seconds = {name: float(study.cost.get(name, 0.0)) for name in _COST_PARTS}
    total = sum(seconds.values())
    return [CostPart(name, spent, spent / total) for name, spent in seconds.items() if spent > 0] if total > 0 else []


def other_arm(trials: Sequence[Trial], trial: Trial) -> Trial | None:
    """The trial of the same stage, page size, chunk budget and settings in the other arm."""
    wanted = (trial.stage, place_of(trial))
    for item in trials:
        if (item.stage, place_of(item)) == wanted and item.arm != trial.arm and conditions_of(item) == conditions_of(trial):
            return item
    return None


def arms_in_order(one: Trial, other: Trial) -> tuple[Trial, Trial]:
    """(baseline, candidate): page alignment is what is judged."""
    return (other, one) if one.arm == ARM_PAGE_ALIGNED and other.arm == ARM_DEFAULT else (one, other)


def _beats(trial: Trial, other: Trial, objective: Objective) -> bool:
    ours, theirs = value_of(trial, objective), value_of(other, objective)
    if ours is None or theirs is None:
        return ours is not None
    return objective.is_better(ours, theirs)
