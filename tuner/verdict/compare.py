"""Page-aligned against default, or the levels of another factor against one of them, cell by cell, with the study's answer in each metric
(tuner.verdict.study_answer). Pure.

A pair is the same round of the same cell, measured in both arms in the same running engine, both valid. Failed, invalid and recompiled
measurements never enter (tuner.verdict.evidence). Rounds in which the machine drifted do: what both arms share cancels in their ratio.
What being second in a pair costs is taken out from ROBUST_FROM pairs on (tuner.stats.order_effect). Below that, rounds that were disturbed
from outside are left out by a rule that knows no arm (tuner.stats.drift.outlier_rounds); from there on the estimate itself bears them
(tuner.stats.samples). Of a factor that is cold the pairs are engine starts (tuner.verdict.cold_pairs).

Several levels are each compared with the same baseline level: each is a cell of its own in the corrections (tuner.stats.intervals for the
table, Holm over all of them for what the sentence claims), which thus hold for all levels and cells together. Not Dunnett's test (1955),
which would use that the levels share their baseline: it needs equal noise, and a table of its own for every number of looks; Holm holds
under any dependence, and costs little for two to five levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from storage.records import Comparison, Json, Measurement, Profile, Stage, Trial, TrialState
from tuner.core.contrast import ALIGNMENT, Contrast
from tuner.core.numbers import change
from tuner.metrics.catalog import Direction, metric_info
from tuner.stats.intervals import Effect, Verdict, floor_of, judge_family
from tuner.stats.pooling import MIN_CELLS_FOR_RANDOM_EFFECTS, pool
from tuner.stats.samples import ROBUST_FROM, typical_of
from tuner.stats.sequential import InterimPlan
from tuner.verdict.answer_words import Told
from tuner.verdict.cell_claims import CellEvidence, MetricCells, cell_claims
from tuner.verdict.cell_evidence import CellCauses
from tuner.verdict.cell_pairs import CellPairs, collect_pairs
from tuner.verdict.cold_pairs import LEAST_STARTS
from tuner.verdict.compared import COMPARED, contrast_caveats, subject_of
from tuner.verdict.evidence import TWIN_OF, ComparedCell
from tuner.verdict.slo_cells import NO_SLOS, SloFacts
from tuner.verdict.study_answer import StudyAnswer, study_answer, with_answer

COLD_METHOD = "paired engine starts: Student's t on the log-ratios of neighbouring starts; false coverage rate over the cells"
METHOD = f"paired log-ratios: Student's t, from {ROBUST_FROM} pairs on Yuen's 20 % trimmed mean; false coverage rate over the cells"


@dataclass(frozen=True)
class Question:
    """What a study's answer is about: the metrics of its objectives (none: the first metric that is compared), its SLOs, whether its
    search can still go on, and what is compared."""

    objectives: tuple[str, ...] = ()
    slos: SloFacts = NO_SLOS
    interrupted: bool = False
    contrast: Contrast = ALIGNMENT
    windows: int = 1  # that a start of a cold comparison has

    @property
    def least(self) -> int:
        """Pairs below which nothing is decided."""
        return LEAST_STARTS if self.contrast.cold else 2


@dataclass(frozen=True)
class _Judged:
    """One metric, judged."""

    pairs: list[CellPairs]
    excluded: dict[str, int]
    effects: dict[ComparedCell, Effect]
    cells: MetricCells


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
    """Judge every cell that has a trial in both arms, or of two levels of the factor that `question` compares. `plan`: the interim
    analyses that the rounds were measured under; None: they are
    analysed once, at the end.

    Intervals are corrected for the number of cells within each metric and environment, not across them; what the answer says holds
    together over its cells and objectives. Raises BadInput for an unknown metric.
    """
    chosen = [trial for trial in trials if trial.stage is stage and trial.study_id == study_id and TWIN_OF not in trial.notes]
    causes = CellCauses(trials, measurements, profiles)
    asked = question or Question()
    objectives = asked.objectives or tuple(metrics[:1])
    plan = None if asked.contrast.cold else plan  # so many starts, then one analysis
    judged: dict[str, _Judged] = {}
    for metric in dict.fromkeys([*metrics, *(objectives if objectives[0] in metrics else ())]):
        judged[metric] = _judged(chosen, measurements, metric, plan, objectives=len(objectives) if metric in objectives else 1, asked=asked)
    comparisons: list[Comparison] = []
    answers: dict[str, StudyAnswer] = {}
    for metric in metrics:
        found = judged[metric]
        is_first = metric == objectives[0]
        told = [judged[name].cells for name in objectives] if is_first else [found.cells]
        subject = subject_of(asked.contrast, [item.level for item in found.pairs])
        answer = study_answer(
            Told(told, asked.slos if is_first else NO_SLOS, plan, asked.interrupted, subject), nothing=_why_nothing(chosen, asked.contrast)
        )
        answers[metric] = replace(answer, caveats=_caveats(found, asked))
        items = [
            _comparison(item, found.effects[item.cell], study_id=study_id, metric=metric, stage=stage, contrast=asked.contrast)
            for item in found.pairs
        ]
        comparisons += with_answer(causes.told(items) if asked.contrast.of_arms else items, answers[metric])
    return StudyComparison(tuple(comparisons), answers)


def _judged(
    trials: Sequence[Trial],
    measurements: Sequence[Measurement],
    metric: str,
    plan: InterimPlan | None,
    *,
    objectives: int,
    asked: Question,
) -> _Judged:
    """`objectives`: how many metrics share the error of the study's answer."""
    direction = metric_info(metric).direction
    pairs, excluded = collect_pairs(trials, measurements, metric, asked.contrast, asked.windows)
    effects, floors = _effects([item for item in pairs if not item.log_ratios or len(item.log_ratios) >= asked.least], direction, plan)
    effects |= {item.cell: _undecided(item) for item in pairs if item.cell not in effects}
    samples = [typical_of(item.log_ratios) for item in pairs if len(item.log_ratios) >= asked.least]
    evidence = [
        CellEvidence(
            place=item.cell.place,
            log_ratios=item.log_ratios,
            effect=effects[item.cell],
            floor=floors.get(item.cell.environment, 0.0),
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


def _undecided(item: CellPairs) -> Effect:
    """Of fewer pairs than it takes."""
    ratio = math.exp(typical_of(item.log_ratios).mean) if len(item.log_ratios) >= 2 else None
    return Effect(len(item.log_ratios), ratio, None, None, Verdict.INCONCLUSIVE)


def _why_nothing(trials: Sequence[Trial], contrast: Contrast) -> str:
    """Why no cell was compared."""
    if not trials:
        return "nothing was measured"
    arms = {trial.arm for trial in trials}
    ended = {trial.state for trial in trials}
    if ended <= {TrialState.FAIL, TrialState.PRUNED}:
        classes = sorted({trial.error_class for trial in trials if trial.error_class})
        return f"none of {len(trials)} trials completed" + (f" ({', '.join(classes)})" if classes else "")
    if not contrast.of_arms:
        return f"no cell was measured with {contrast.baseline_words} and another level"
    if len(arms) == 1:
        return f"only the {arms.pop()} arm was measured"
    return "no cell was measured in both arms"


def _comparison(item: CellPairs, effect: Effect, *, study_id: int, metric: str, stage: Stage, contrast: Contrast) -> Comparison:
    details: Json = {
        "stage": stage.value,
        "direction": metric_info(metric).direction.value,
        "method": COLD_METHOD if contrast.cold else METHOD,
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
    if not contrast.of_arms:
        details[COMPARED] = {
            "factor": contrast.name,
            "level": item.level,
            "baseline": contrast.baseline,
            "unit": contrast.unit,
        }
    if not item.log_ratios:
        details["reason"] = _why_no_pair(item)
    elif contrast.cold and len(item.log_ratios) < LEAST_STARTS:
        details["reason"] = f"{len(item.log_ratios)} pairs of engine starts: nothing is decided below {LEAST_STARTS}"
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
            which = f"the {trial.arm} trial" if item.baseline.arm != item.candidate.arm else "trial"
            return f"no valid pair: {which} {trial.number} failed ({trial.error_class})"
    if item.split_rounds:
        what = "the arms were" if item.baseline.arm != item.candidate.arm else "the two were"
        return f"{what} measured in different engines in all {len(item.split_rounds)} rounds: no pair"
    return f"no round has a valid measurement of the metric in both {'arms' if item.baseline.arm != item.candidate.arm else 'levels'}"


def _caveats(found: _Judged, asked: Question) -> tuple[str, ...]:
    pairs, effects, excluded, pooled = found.pairs, found.effects, found.excluded, found.cells.pooled
    caveats = ["holds for the model, workload, versions and machine of this study and says nothing about others"]
    if pooled is not None and pooled.cells < MIN_CELLS_FOR_RANDOM_EFFECTS:
        caveats.append(f"{pooled.cells} cell(s) measured: too few to speak of other page sizes and chunk budgets")
    caveats += contrast_caveats(asked.contrast, {item.level for item in pairs}, max((len(item.log_ratios) for item in pairs), default=0))
    dead = sum(item.runs_in_neither_arm for item in pairs)
    if dead:
        caveats.append(f"{dead} of {len(pairs)} cells ran in neither arm; the answer is about the others")
    without = [item.cell for item in pairs if effects[item.cell].low is None]
    if without:
        caveats.append(f"{len(without)} of {len(pairs)} cells have too few valid pairs for an interval")
    drifted = [item for item in pairs if item.drift.drifted]
    if drifted:
        caveats.append(f"the baseline drifted in {len(drifted)} of {len(pairs)} cells; pairing takes a common drift out of the ratios")
    outliers = {(item.engine, number) for item in pairs for number in item.outlier_rounds}
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
