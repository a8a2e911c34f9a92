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
from tuner.metrics.objective import Objective
from tuner.report.effects import HeatCell
from tuner.serving.stored_settings import conditions_of
from tuner.setup.stored_study import StoredStudy
from tuner.verdict.conclude import study_objectives

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
    winner: tuple[str, int, int] | None,
    margins: Mapping[int, Sequence[Margin]] = MappingProxyType({}),
) -> list[HeatCell]:
    """The best search trial of each arm, page size and chunk budget, in that order. `winner`: what is recommended, in the same order.
    `margins`: trial id -> how far it is inside each SLO."""
    best: dict[tuple[str, int, int], Trial] = {}
    for trial in trials:
        if trial.stage is Stage.SEARCH:
            key = (trial.arm, trial.block_size, trial.max_num_batched_tokens)
            if key not in best or _beats(trial, best[key], objective):
                best[key] = trial
    return [_heat_cell(trial, objective, winner=key == winner, missed=misses(margins, trial.id)) for key, trial in sorted(best.items())]


def _heat_cell(trial: Trial, objective: Objective, *, winner: bool, missed: tuple[str, ...]) -> HeatCell:
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
    wanted = (trial.stage, trial.block_size, trial.max_num_batched_tokens)
    for item in trials:
        if (
            (item.stage, item.block_size, item.max_num_batched_tokens) == wanted
            and item.arm != trial.arm
            and conditions_of(item) == conditions_of(trial)
        ):
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
