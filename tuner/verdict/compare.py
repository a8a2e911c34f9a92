"""Page-aligned against default, cell by cell, and the study's answer to "can we just turn this on by default?". Pure.

A pair is the same round of the same cell, measured in both arms in the same running engine, both valid. Failed, invalid, recompiled and
drifted measurements never enter (tuner.verdict.evidence), and rounds that were disturbed from outside are left out by a rule that knows
no arm
(tuner.stats.drift.outlier_rounds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage.records import Comparison, Json, Measurement, Stage, Trial
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.metrics.catalog import Direction, metric_info
from tuner.stats.drift import DriftReport, detect_drift, outlier_rounds
from tuner.stats.intervals import LEVEL, Effect, Verdict, judge_family, paired_log_ratios, sample_of
from tuner.stats.pooling import MIN_CELLS_FOR_RANDOM_EFFECTS, PooledEffect, pool
from tuner.stats.sequential import LookPlan
from tuner.verdict.evidence import COMPARABLE, Cell, Origin, cells_of, metric_by_round, origin_by_round, usable_measurements

ANSWER_ON = "on"
ANSWER_OFF = "off"
ANSWER_NO_EVIDENCE = "no_evidence"


@dataclass(frozen=True)
class CellPairs:
    """The pairs of one cell in one metric. `log_ratios` is [pairs], in order of rounds."""

    cell: Cell
    log_ratios: tuple[float, ...]
    rounds: tuple[int, ...]
    baseline: Trial
    candidate: Trial
    drift: DriftReport
    outlier_rounds: tuple[int, ...] = ()
    split_rounds: tuple[int, ...] = ()  # measured in both arms, but not in the same engine


@dataclass(frozen=True)
class _Series:
    """One trial's usable values of a metric, by round, and the engines that they come from."""

    values: dict[int, float]
    origins: dict[int, Origin]


@dataclass(frozen=True)
class StudyAnswer:
    """For one metric: `answer` is "on", "off" or "no_evidence"; `sentence` says it, `caveats` say what it does not mean."""

    metric: str
    answer: str
    sentence: str
    pooled: PooledEffect | None
    counts: dict[str, int]  # verdict -> cells
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class StudyComparison:
    """All comparisons, and one answer per metric in the order asked. The first metric is the objective's: its answer is the study's."""

    comparisons: tuple[Comparison, ...]
    answers: dict[str, StudyAnswer] = field(default_factory=dict)

    @property
    def answer(self) -> StudyAnswer | None:
        return next(iter(self.answers.values()), None)


def compare_study(
    study_id: int,
    trials: Sequence[Trial],
    measurements: Sequence[Measurement],
    metrics: Sequence[str],
    *,
    stage: Stage = Stage.SEARCH,
    plan: LookPlan | None = None,
    level: float = LEVEL,
    created_at: float = 0.0,
) -> StudyComparison:
    """Judge every cell that has a trial in both arms. `plan` is the plan of looks that the rounds were measured under; None: looked at
    once.

    Each metric is a family of its own. Raises BadInput for an unknown metric.
    """
    chosen = [trial for trial in trials if trial.stage is stage and trial.study_id == study_id]
    comparisons: list[Comparison] = []
    answers: dict[str, StudyAnswer] = {}
    for metric in metrics:
        direction = metric_info(metric).direction
        pairs, excluded = collect_pairs(chosen, measurements, metric)
        effects = judge_family({item.cell: item.log_ratios for item in pairs}, direction, level=level, plan=plan)
        comparisons += [_comparison(study_id, metric, item, effects[item.cell], stage, created_at) for item in pairs]
        answers[metric] = answer_of(metric, pairs, effects, excluded, plan=plan, level=level)
    return StudyComparison(tuple(comparisons), answers)


def collect_pairs(trials: Sequence[Trial], measurements: Sequence[Measurement], metric: str) -> tuple[list[CellPairs], dict[str, int]]:
    """(one CellPairs per cell with a trial in both arms, reason -> measurements that were excluded). A cell may have no pair."""
    usable, excluded = usable_measurements(trials, measurements, COMPARABLE)
    series = {
        trial.id: _Series(metric_by_round(found, metric), origin_by_round(found, metric))
        for trial in trials
        for found in [usable.get(trial.id, [])]
    }
    cell = cells_of(trials)
    disturbed = _disturbed_rounds(cell, series)
    cells: dict[Cell, dict[str, list[Trial]]] = {}
    for trial in sorted(trials, key=lambda item: item.number):
        cells.setdefault(cell[trial.id], {}).setdefault(trial.arm, []).append(trial)
    result: list[CellPairs] = []
    for key, arms in sorted(cells.items()):
        if arms.keys() >= {ARM_DEFAULT, ARM_PAGE_ALIGNED}:
            result.append(_cell_pairs(key, arms, series, disturbed.get(_engine_of(key), frozenset())))
    return result, excluded


def answer_of(
    metric: str,
    pairs: Sequence[CellPairs],
    effects: dict[Cell, Effect],
    excluded: dict[str, int],
    *,
    plan: LookPlan | None = None,
    level: float = LEVEL,
) -> StudyAnswer:
    """ "on": better on the whole and worse nowhere. "off": worse on the whole and better nowhere, or no practical difference anywhere."""
    direction = metric_info(metric).direction
    pooled = pool([sample_of(item.log_ratios) for item in pairs if len(item.log_ratios) >= 2], direction, level=level, plan=plan)
    counts = {verdict.value: sum(effect.verdict is verdict for effect in effects.values()) for verdict in Verdict}
    answer, sentence = decide(pooled, counts)
    caveats = _caveats(pairs, effects, excluded, pooled)
    return StudyAnswer(metric, answer, f"{sentence} ({_effect_text(metric, pooled)})", pooled, counts, caveats)


def decide(pooled: PooledEffect | None, counts: Mapping[str, int]) -> tuple[str, str]:
    """(answer, sentence) from the pooled effect and the number of cells of each verdict."""
    some_better, some_worse = counts[Verdict.BETTER] > 0, counts[Verdict.WORSE] > 0
    overall = pooled.verdict if pooled is not None else Verdict.INCONCLUSIVE
    if overall is Verdict.BETTER and not some_worse:
        return ANSWER_ON, "turn page-aligned scheduling on"
    if overall is Verdict.WORSE and not some_better:
        return ANSWER_OFF, "turn page-aligned scheduling off"
    if overall is Verdict.EQUIVALENT and not (some_better or some_worse):
        return ANSWER_OFF, "page-aligned scheduling makes no practical difference: leave it off"
    if some_better and some_worse:
        return ANSWER_NO_EVIDENCE, "no evidence for one default: page-aligned scheduling is better in some cells, worse in others"
    return ANSWER_NO_EVIDENCE, "no evidence: the measurements decide neither for nor against page-aligned scheduling"


def _cell_pairs(cell: Cell, arms: dict[str, list[Trial]], series: dict[int, _Series], disturbed: frozenset[int]) -> CellPairs:
    """Trials of the two arms are matched in order of their numbers, those without a usable value last."""
    ordered = {arm: sorted(found, key=lambda trial: (not series[trial.id].values, trial.number)) for arm, found in arms.items()}
    log_ratios: list[float] = []
    rounds: list[int] = []
    split: list[int] = []
    for baseline, candidate in zip(ordered[ARM_DEFAULT], ordered[ARM_PAGE_ALIGNED], strict=False):
        one, other = series[baseline.id], series[candidate.id]
        ratios = {number: value for number, value in paired_log_ratios(one.values, other.values).items() if number not in disturbed}
        apart = {number for number in ratios if one.origins[number] != other.origins[number]}
        kept = {number: value for number, value in ratios.items() if number not in apart}
        log_ratios += kept.values()
        rounds += kept.keys()
        split += sorted(apart)
    baseline, candidate = ordered[ARM_DEFAULT][0], ordered[ARM_PAGE_ALIGNED][0]
    drift = detect_drift(series[baseline.id].values)
    return CellPairs(cell, tuple(log_ratios), tuple(rounds), baseline, candidate, drift, tuple(sorted(disturbed)), tuple(split))


def _engine_of(cell: Cell) -> Cell:
    """Rounds are numbered within an engine, and chunk budgets are live settings of one engine."""
    return Cell(cell.block_size, 0, cell.settings, cell.workload_hash, cell.environment)


def _disturbed_rounds(cells: dict[int, Cell], series: dict[int, _Series]) -> dict[Cell, frozenset[int]]:
    engines: dict[Cell, dict[str, dict[int, float]]] = {}
    for trial_id, cell in cells.items():
        engines.setdefault(_engine_of(cell), {})[str(trial_id)] = series[trial_id].values
    return {engine: outlier_rounds(values) for engine, values in engines.items()}


def _comparison(study_id: int, metric: str, item: CellPairs, effect: Effect, stage: Stage, created_at: float) -> Comparison:
    details: Json = {
        "stage": stage.value,
        "direction": metric_info(metric).direction.value,
        "method": "Student's t on paired log-ratios, false coverage rate over the cells",
        "confidence": None if effect.level is None else 1 - effect.level,
        "family_confidence": 1 - effect.family_level,
        "log_ratio_sd": effect.sd,
        "rounds": list(item.rounds),
        "outlier_rounds": list(item.outlier_rounds),
        "split_rounds": list(item.split_rounds),
        "settings": item.cell.settings,
        "environment": item.cell.environment,
        "workload_hash": item.cell.workload_hash,
        "baseline_drift": {"kind": item.drift.kind, "trend_ratio": item.drift.trend_ratio, "shift_ratio": item.drift.shift_ratio},
    }
    if not item.log_ratios:
        details["reason"] = _why_no_pair(item)
    return Comparison(
        study_id=study_id,
        metric=metric,
        block_size=item.cell.block_size,
        max_num_batched_tokens=item.cell.max_num_batched_tokens,
        verdict=effect.verdict.value,
        pairs=effect.pairs,
        ratio=effect.ratio,
        low=effect.low,
        high=effect.high,
        baseline_trial_id=item.baseline.id or None,
        candidate_trial_id=item.candidate.id or None,
        details=details,
        created_at=created_at,
    )


def _why_no_pair(item: CellPairs) -> str:
    for trial in (item.baseline, item.candidate):
        if trial.error_class:
            return f"no valid pair: the {trial.arm} trial {trial.number} failed ({trial.error_class})"
    if item.split_rounds:
        return f"the arms were measured in different engines in all {len(item.split_rounds)} rounds: no pair"
    return "no round has a valid measurement of the metric in both arms"


def _effect_text(metric: str, pooled: PooledEffect | None) -> str:
    if pooled is None:
        return f"{metric}: no cell has enough valid pairs"
    better_when = "more" if metric_info(metric).direction is Direction.MAXIMIZE else "less"
    return (
        f"{metric}, {better_when} is better: {_percent(pooled.ratio)}, {100 * (1 - pooled.level):.0f} % interval "
        f"{_percent(pooled.low)} to {_percent(pooled.high)}, {pooled.cells} cells, {pooled.pairs} pairs"
    )


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"


def _caveats(
    pairs: Sequence[CellPairs], effects: dict[Cell, Effect], excluded: dict[str, int], pooled: PooledEffect | None
) -> tuple[str, ...]:
    caveats = ["holds for the model, workload, versions and machine of this study and says nothing about others"]
    if pooled is not None and pooled.cells < MIN_CELLS_FOR_RANDOM_EFFECTS:
        caveats.append(f"{pooled.cells} cell(s) measured: too few to speak of other page sizes and chunk budgets")
    without = [item.cell for item in pairs if effects[item.cell].low is None]
    if without:
        caveats.append(f"{len(without)} of {len(pairs)} cells have too few valid pairs for an interval")
    drifted = [item for item in pairs if item.drift.drifted]
    if drifted:
        caveats.append(f"the baseline drifted in {len(drifted)} of {len(pairs)} cells; pairing takes a common drift out of the ratios")
    outliers = {(_engine_of(item.cell), number) for item in pairs for number in item.outlier_rounds}
    if outliers:
        caveats.append(f"{len(outliers)} round(s) were disturbed from outside and left out, in both arms")
    split = sum(len(item.split_rounds) for item in pairs)
    if split:
        caveats.append(f"{split} round(s) of a cell had its arms in different engines (restarted in between) and are not pairs")
    if excluded:
        caveats.append("measurements left out: " + ", ".join(f"{count} {reason}" for reason, count in excluded.items()))
    if pooled is not None and pooled.between_sd is not None and pooled.between_sd > 0:
        caveats.append(f"true effects differ between cells by about {100 * pooled.between_sd:.1f} % (standard deviation)")
    return tuple(caveats)
