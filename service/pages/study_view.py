"""What the page of a study shows, made from its records. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from storage.records import Comparison, Stage, Study, Trial, TrialState
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.core.errors import BadInput
from tuner.metrics.catalog import Direction, metric_info
from tuner.metrics.objective import Objective
from tuner.serving.stored_settings import conditions_of
from tuner.setup.stored_study import StoredStudy
from tuner.stats.pooling import PooledEffect
from tuner.stats.sequential import InterimPlan
from tuner.verdict.conclude import study_objectives
from tuner.verdict.study_answer import StudyAnswer, stored_answer

MOST_FOREST_ROWS = 30
_COST_PARTS = ("measure", "start", "warm_up", "profile", "other")
POOLED = "all cells pooled"


@dataclass(frozen=True)
class HeatCell:
    """`word` says why there is no value."""

    arm: str
    block_size: int
    max_num_batched_tokens: int
    value: float | None
    word: str
    trial_id: int
    winner: bool = False


@dataclass(frozen=True)
class EffectRow:
    """page_aligned / default as changes in percent. Page size and chunk budget are 0 for all cells together."""

    label: str
    block_size: int
    max_num_batched_tokens: int
    change: float | None
    low: float | None
    high: float | None
    verdict: str
    pairs: int
    reason: str = ""
    baseline_id: int | None = None
    candidate_id: int | None = None


@dataclass(frozen=True)
class Effects:
    """The cells of one metric and what they say together. `answer` is None where no cell has both arms."""

    metric: str
    unit: str
    less_is_better: bool
    rows: tuple[EffectRow, ...]
    answer: StudyAnswer | None

    @property
    def pooled(self) -> EffectRow | None:
        """All cells together."""
        return _pooled_row(self.answer.pooled) if self.answer is not None and self.answer.pooled is not None else None

    @property
    def forest(self) -> list[EffectRow]:
        """What the picture shows: the largest effects first where there are too many, and all cells pooled as the last line."""
        drawn = [row for row in self.rows if row.change is not None]
        if len(drawn) > MOST_FOREST_ROWS:
            largest = sorted(drawn, key=lambda row: -abs(row.change or 0.0))[:MOST_FOREST_ROWS]
            drawn = [row for row in drawn if row in largest]
        return [*drawn, *([self.pooled] if self.pooled is not None else [])]

    @property
    def left_out(self) -> int:
        return sum(row.change is not None for row in self.rows) - len(self.forest) + (self.pooled is not None)


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
    share: float


def primary_objective(study: Study) -> Objective | None:
    """The first objective; None where what is stored of the study cannot be read."""
    try:
        StoredStudy.from_record(study)
        return study_objectives(study)[0]
    except BadInput:
        return None


def heat_cells(trials: Sequence[Trial], objective: Objective, winner: tuple[str, int, int] | None) -> list[HeatCell]:
    """The best search trial of each arm, page size and chunk budget, in that order. `winner`: what is recommended, in the same order."""
    best: dict[tuple[str, int, int], Trial] = {}
    for trial in trials:
        if trial.stage is Stage.SEARCH:
            key = (trial.arm, trial.block_size, trial.max_num_batched_tokens)
            if key not in best or _beats(trial, best[key], objective):
                best[key] = trial
    return [
        HeatCell(*key, value_of(trial, objective), "" if trial.values else state_word(trial), trial.id, key == winner)
        for key, trial in sorted(best.items())
    ]


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


def effects_of(comparisons: Sequence[Comparison], metric: str, plan: InterimPlan | None) -> Effects:
    """`plan`: the study's (tuner.verdict.evidence.interim_plan). Raises BadInput for an unknown metric."""
    info = metric_info(metric)
    chosen = sorted(
        (item for item in comparisons if item.metric == metric), key=lambda item: (item.block_size, item.max_num_batched_tokens)
    )
    rows = tuple(_effect_row(item) for item in chosen)
    less = info.direction is Direction.MINIMIZE
    return Effects(metric, info.unit, less, rows, stored_answer(comparisons, metric, plan))


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


def _effect_row(item: Comparison) -> EffectRow:
    return EffectRow(
        label=f"{item.block_size} \N{MULTIPLICATION SIGN} {item.max_num_batched_tokens}",
        block_size=item.block_size,
        max_num_batched_tokens=item.max_num_batched_tokens,
        change=_percent(item.ratio),
        low=_percent(item.low),
        high=_percent(item.high),
        verdict=item.verdict,
        pairs=item.pairs,
        reason=str(item.details.get("reason") or ""),
        baseline_id=item.baseline_trial_id,
        candidate_id=item.candidate_trial_id,
    )


def _pooled_row(pooled: PooledEffect) -> EffectRow:
    return EffectRow(
        label=POOLED,
        block_size=0,
        max_num_batched_tokens=0,
        change=_percent(pooled.ratio),
        low=_percent(pooled.low),
        high=_percent(pooled.high),
        verdict=pooled.verdict.value,
        pairs=pooled.pairs,
    )


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None or not math.isfinite(ratio) else 100 * (ratio - 1)
