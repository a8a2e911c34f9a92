"""Page-aligned against default, cell by cell, with the study's answer in each metric (tuner.verdict.study_answer). Pure.

A pair is the same round of the same cell, measured in both arms in the same running engine, both valid. Failed, invalid and recompiled
measurements never enter (tuner.verdict.evidence). Rounds in which the machine drifted do: what both arms share cancels in their ratio.
What being second in a pair costs is taken out from ROBUST_FROM pairs on (tuner.stats.order_effect). Below that, rounds that were disturbed
from outside are left out by a rule that knows no arm (tuner.stats.drift.outlier_rounds); from there on the estimate itself bears them
(tuner.stats.samples).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from storage.records import Comparison, Json, Measurement, Profile, Stage, Trial, TrialState
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.core.factors import cold_factors
from tuner.core.numbers import change
from tuner.metrics.catalog import Direction, metric_info
from tuner.stats.drift import DriftReport, detect_drift, outlier_rounds, without_disturbed
from tuner.stats.intervals import Effect, floor_of, judge_family, paired_log_ratios
from tuner.stats.order_effect import order_effect, order_of_rounds, without_order
from tuner.stats.pooling import MIN_CELLS_FOR_RANDOM_EFFECTS, pool
from tuner.stats.samples import ROBUST_FROM, typical_of
from tuner.stats.sequential import InterimPlan
from tuner.verdict.answer_words import Told
from tuner.verdict.cell_claims import CellEvidence, MetricCells, cell_claims
from tuner.verdict.cell_evidence import CellCauses
from tuner.verdict.evidence import COMPARABLE, ComparedCell, Origin, cells_of, first_by_round, origin_of, usable_measurements
from tuner.verdict.slo_cells import NO_SLOS, SloFacts
from tuner.verdict.study_answer import StudyAnswer, study_answer, with_answer

METHOD = f"paired log-ratios: Student's t, from {ROBUST_FROM} pairs on Yuen's 20 % trimmed mean; false coverage rate over the cells"


@dataclass(frozen=True)
class CellPairs:
    """The pairs of one cell in one metric. `log_ratios` is [pairs], in order of rounds."""

    cell: ComparedCell
    log_ratios: tuple[float, ...]
    rounds: tuple[int, ...]
    baseline: Trial
    candidate: Trial
    drift: DriftReport
    outlier_rounds: tuple[int, ...] = ()
    split_rounds: tuple[int, ...] = ()  # measured in both arms, but not in the same engine
    orders: tuple[int, ...] = ()  # [pairs] which arm came second (tuner.stats.order_effect)
    order_effect: float = 0.0  # log of what being second multiplied a value by, taken out of `log_ratios`

    @property
    def runs_in_neither_arm(self) -> bool:
        """Failed or given up in both: nobody can use such a cell, so it is no part of the question."""
        ended = {self.baseline.state, self.candidate.state}
        return not self.log_ratios and ended <= {TrialState.FAIL, TrialState.PRUNED}


@dataclass(frozen=True)
class Question:
    """What a study's answer is about: the metrics of its objectives (none: the first metric that is compared), its SLOs, and whether its
    search can still go on."""

    objectives: tuple[str, ...] = ()
    slos: SloFacts = NO_SLOS
    interrupted: bool = False


@dataclass(frozen=True)
class _Judged:
    """One metric, judged."""

    pairs: list[CellPairs]
    excluded: dict[str, int]
    effects: dict[ComparedCell, Effect]
    cells: MetricCells


@dataclass(frozen=True)
class _Series:
    """One trial's usable values of a metric, by round, and the engines that they come from."""

    values: dict[int, float]
    origins: dict[int, Origin]
    positions: dict[int, int]


@dataclass(frozen=True)
class StudyComparison:
    """All comparisons, and one answer per metric in the order asked. The first metric is the first objective's: its answer is the study's,
    over all objectives and SLOs."""

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
    plan: InterimPlan | None = None,
    question: Question | None = None,
    profiles: Sequence[Profile] = (),
) -> StudyComparison:
    """Judge every cell that has a trial in both arms. `plan`: the interim analyses that the rounds were measured under; None: they are
    analysed once, at the end.

    Intervals are corrected for the number of cells within each metric and environment, not across them; what the answer says holds
    together over its cells and objectives. Raises BadInput for an unknown metric.
    """
    chosen = [trial for trial in trials if trial.stage is stage and trial.study_id == study_id]
    causes = CellCauses(trials, measurements, profiles)
    asked = question or Question()
    objectives = asked.objectives or tuple(metrics[:1])
    judged: dict[str, _Judged] = {}
    for metric in dict.fromkeys([*metrics, *(objectives if objectives[0] in metrics else ())]):
        judged[metric] = _judged(chosen, measurements, metric, plan, objectives=len(objectives) if metric in objectives else 1)
    comparisons: list[Comparison] = []
    answers: dict[str, StudyAnswer] = {}
    for metric in metrics:
        found = judged[metric]
        is_first = metric == objectives[0]
        told = [judged[name].cells for name in objectives] if is_first else [found.cells]
        answer = study_answer(Told(told, asked.slos if is_first else NO_SLOS, plan, asked.interrupted), nothing=_why_nothing(chosen))
        answers[metric] = replace(answer, caveats=_caveats(found))
        items = [_comparison(item, found.effects[item.cell], study_id=study_id, metric=metric, stage=stage) for item in found.pairs]
        comparisons += with_answer(causes.told(items), answers[metric])
    return StudyComparison(tuple(comparisons), answers)


def _judged(
    trials: Sequence[Trial], measurements: Sequence[Measurement], metric: str, plan: InterimPlan | None, *, objectives: int
) -> _Judged:
    """`objectives`: how many metrics share the error of the study's answer."""
    direction = metric_info(metric).direction
    pairs, excluded = collect_pairs(trials, measurements, metric)
    effects, floors = _effects(pairs, direction, plan)
    samples = [typical_of(item.log_ratios) for item in pairs if len(item.log_ratios) >= 2]
    evidence = [
        CellEvidence(
            place=item.cell.place,
            log_ratios=item.log_ratios,
            effect=effects[item.cell],
            floor=floors[item.cell.environment],
            reason=None if item.log_ratios else _why_no_pair(item),
        )
        for item in pairs
        if not item.runs_in_neither_arm
    ]
    claims = cell_claims(evidence, direction, plan=plan, objectives=objectives)
    return _Judged(pairs, excluded, effects, MetricCells(metric, claims, pool(samples, direction, plan=plan)))


def _effects(
    pairs: Sequence[CellPairs], direction: Direction, plan: InterimPlan | None
) -> tuple[dict[ComparedCell, Effect], dict[str, float]]:
    """(cell -> verdict, environment -> least noise that its cells are taken to have). Each environment is a family: what was measured on
    another machine neither sharpens nor blurs what is said of this one."""
    families: dict[str, dict[ComparedCell, Sequence[float]]] = {}
    for item in pairs:
        families.setdefault(item.cell.environment, {})[item.cell] = item.log_ratios
    effects: dict[ComparedCell, Effect] = {}
    for family in families.values():
        effects |= judge_family(family, direction, plan=plan)
    return effects, {environment: floor_of(family.values(), plan) for environment, family in families.items()}


def _why_nothing(trials: Sequence[Trial]) -> str:
    """Why no cell was compared."""
    if not trials:
        return "nothing was measured"
    arms = {trial.arm for trial in trials}
    ended = {trial.state for trial in trials}
    if ended <= {TrialState.FAIL, TrialState.PRUNED}:
        classes = sorted({trial.error_class for trial in trials if trial.error_class})
        return f"none of {len(trials)} trials completed" + (f" ({', '.join(classes)})" if classes else "")
    if len(arms) == 1:
        return f"only the {arms.pop()} arm was measured"
    return "no cell was measured in both arms"


def collect_pairs(trials: Sequence[Trial], measurements: Sequence[Measurement], metric: str) -> tuple[list[CellPairs], dict[str, int]]:
    """(one CellPairs per cell with a trial in both arms, reason -> measurements that were excluded). A cell may have no pair."""
    usable, excluded = usable_measurements(trials, measurements, COMPARABLE, in_pairs=True)
    series = {
        trial.id: _Series(
            {at: float(item.metrics[metric]) for at, item in found.items()},
            {at: origin_of(item) for at, item in found.items()},
            {at: item.position for at, item in found.items()},
        )
        for trial in trials
        for found in [first_by_round(usable.get(trial.id, []), metric)]
    }
    cell = cells_of(trials)
    disturbed = _disturbed_rounds(cell, series)
    cells: dict[ComparedCell, dict[str, list[Trial]]] = {}
    for trial in sorted(trials, key=lambda item: item.number):
        cells.setdefault(cell[trial.id], {}).setdefault(trial.arm, []).append(trial)
    result: list[CellPairs] = []
    for key, arms in sorted(cells.items(), key=lambda item: item[0].order):
        if arms.keys() >= {ARM_DEFAULT, ARM_PAGE_ALIGNED}:
            result.append(_cell_pairs(key, arms, series, disturbed.get(_engine_of(key), frozenset())))
    return _without_order_effects(result), excluded


def _without_order_effects(pairs: Sequence[CellPairs]) -> list[CellPairs]:
    """What being second costs is a property of the engine that ran: asked of all its cells together."""
    engines: dict[ComparedCell, list[CellPairs]] = {}
    for item in pairs:
        engines.setdefault(_engine_of(item.cell), []).append(item)
    effects = {engine: order_effect((item.log_ratios, item.orders) for item in cells) for engine, cells in engines.items()}
    found: list[CellPairs] = []
    for item in pairs:
        effect = effects[_engine_of(item.cell)] if len(item.log_ratios) >= ROBUST_FROM else 0.0
        found.append(replace(item, log_ratios=tuple(without_order(item.log_ratios, item.orders, effect)), order_effect=effect))
    return found


def _cell_pairs(cell: ComparedCell, arms: dict[str, list[Trial]], series: dict[int, _Series], disturbed: frozenset[int]) -> CellPairs:
    """Trials of the two arms are matched in order of their numbers, those without a usable value last."""
    ordered = {arm: sorted(found, key=lambda trial: (not series[trial.id].values, trial.number)) for arm, found in arms.items()}
    together: dict[int, float] = {}
    orders: dict[int, int] = {}
    split: set[int] = set()
    for baseline, candidate in zip(ordered[ARM_DEFAULT], ordered[ARM_PAGE_ALIGNED], strict=False):
        one, other = series[baseline.id], series[candidate.id]
        ratios = paired_log_ratios(one.values, other.values)
        apart = {number for number in ratios if one.origins[number] != other.origins[number]}
        together |= {number: value for number, value in ratios.items() if number not in apart}
        order = order_of_rounds(one.positions, other.positions)
        orders |= {number: order[number] for number in ratios.keys() - apart}
        split |= apart
    kept = without_disturbed(together, disturbed)
    baseline, candidate = ordered[ARM_DEFAULT][0], ordered[ARM_PAGE_ALIGNED][0]
    drift = detect_drift(series[baseline.id].values)
    return CellPairs(
        cell=cell,
        log_ratios=tuple(kept.values()),
        rounds=tuple(kept),
        baseline=baseline,
        candidate=candidate,
        drift=drift,
        outlier_rounds=tuple(sorted(disturbed)) if len(together) < ROBUST_FROM else (),
        split_rounds=tuple(sorted(split)),
        orders=tuple(orders[number] for number in kept),
    )


def _engine_of(cell: ComparedCell) -> ComparedCell:
    """Rounds are numbered within an engine, and chunk budgets are live settings of one engine, as some factors are."""
    return ComparedCell(cell.block_size, 0, cell.settings, cell.workload_hash, cell.environment, cold_factors(cell.factors))


def _disturbed_rounds(cells: dict[int, ComparedCell], series: dict[int, _Series]) -> dict[ComparedCell, frozenset[int]]:
    engines: dict[ComparedCell, dict[str, dict[int, float]]] = {}
    for trial_id, cell in cells.items():
        engines.setdefault(_engine_of(cell), {})[str(trial_id)] = series[trial_id].values
    return {engine: outlier_rounds(values) for engine, values in engines.items()}


def _comparison(item: CellPairs, effect: Effect, *, study_id: int, metric: str, stage: Stage) -> Comparison:
    details: Json = {
        "stage": stage.value,
        "direction": metric_info(metric).direction.value,
        "method": METHOD,
        "confidence": None if effect.level is None else 1 - effect.level,
        "family_confidence": 1 - effect.family_level,
        "log_ratio_sd": effect.sd,
        "rounds": list(item.rounds),
        "outlier_rounds": list(item.outlier_rounds),
        "split_rounds": list(item.split_rounds),
        "order_effect": math.exp(item.order_effect),
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
        factors=dict(item.cell.factors),
    )


def _why_no_pair(item: CellPairs) -> str:
    for trial in (item.baseline, item.candidate):
        if trial.error_class:
            return f"no valid pair: the {trial.arm} trial {trial.number} failed ({trial.error_class})"
    if item.split_rounds:
        return f"the arms were measured in different engines in all {len(item.split_rounds)} rounds: no pair"
    return "no round has a valid measurement of the metric in both arms"


def _caveats(found: _Judged) -> tuple[str, ...]:
    pairs, effects, excluded, pooled = found.pairs, found.effects, found.excluded, found.cells.pooled
    caveats = ["holds for the model, workload, versions and machine of this study and says nothing about others"]
    if pooled is not None and pooled.cells < MIN_CELLS_FOR_RANDOM_EFFECTS:
        caveats.append(f"{pooled.cells} cell(s) measured: too few to speak of other page sizes and chunk budgets")
    dead = sum(item.runs_in_neither_arm for item in pairs)
    if dead:
        caveats.append(f"{dead} of {len(pairs)} cells ran in neither arm; the answer is about the others")
    without = [item.cell for item in pairs if effects[item.cell].low is None]
    if without:
        caveats.append(f"{len(without)} of {len(pairs)} cells have too few valid pairs for an interval")
    drifted = [item for item in pairs if item.drift.drifted]
    if drifted:
        caveats.append(f"the baseline drifted in {len(drifted)} of {len(pairs)} cells; pairing takes a common drift out of the ratios")
    outliers = {(_engine_of(item.cell), number) for item in pairs for number in item.outlier_rounds}
    if outliers:
        caveats.append(f"{len(outliers)} round(s) were disturbed from outside and left out, in both arms")
    second = [math.exp(item.order_effect) for item in pairs if item.order_effect]
    if second:
        span = " to ".join(dict.fromkeys(change(ratio) for ratio in (min(second), max(second))))
        caveats.append(f"being measured second changed windows by {span} in {len(second)} of {len(pairs)} cells; taken out of their pairs")
    split = sum(len(item.split_rounds) for item in pairs)
    if split:
        caveats.append(f"{split} round(s) of a cell had its arms in different engines (restarted in between) and are not pairs")
    if excluded:
        caveats.append("measurements left out: " + ", ".join(f"{count} {reason}" for reason, count in excluded.items()))
    if pooled is not None and pooled.between_sd is not None and pooled.between_sd > 0:
        caveats.append(f"true effects differ between cells by about {100 * pooled.between_sd:.1f} % (standard deviation)")
    return tuple(caveats)
