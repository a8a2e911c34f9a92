"""The configurations that may be recommended, and the order among them. Pure.

A candidate is a completed trial with at least one usable measurement; its values are medians over its usable measurements. Nothing of a
failed or pruned trial, and no failed, invalid, recompiled or drifted measurement, is ever seen here.

Order, among those that meet every SLO: within the tie band (2 %) of the best value of the first objective, then of the second, and so on,
what remains is as good as equal, and the simplest is preferred:
1. the default arm before page_aligned;
2. fewer settings that differ from vLLM's own defaults (page size, chunk budget, factors), as far as these are known;
3. the larger page size (fewer pages to keep track of), then the smaller chunk budget (less activation memory, shorter steps);
4. the lower trial number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import Json, Measurement, Stage, Trial
from tuner.core.contract import ARM_DEFAULT
from tuner.core.contrast import Contrast
from tuner.core.factors import in_arm
from tuner.metrics.catalog import Direction
from tuner.metrics.objective import Objective, Slo, is_feasible, median_metrics
from tuner.stats.racing import TIE_BAND
from tuner.verdict.evidence import MEASURED, UNFINISHED, ComparedCell, Evidence, cells_of, place_of, usable_measurements, wrong_answers


@dataclass(frozen=True)
class Candidate:
    """One configuration. `metrics`: medians over `measurements`, which are all usable."""

    trial: Trial
    cell: ComparedCell
    measurements: tuple[Measurement, ...]
    metrics: dict[str, float]

    @property
    def is_default_arm(self) -> bool:
        return self.trial.arm == ARM_DEFAULT

    def same_configuration(self, other: Candidate) -> bool:
        return self.cell == other.cell and self.trial.arm == other.trial.arm

    def is_configuration_of(self, trial: Trial) -> bool:
        """Page size, chunk budget, factors and arm, whatever the stage."""
        names = ("block_size", "max_num_batched_tokens", "factors", "arm")
        return all(getattr(self.trial, name) == getattr(trial, name) for name in names)

    def is_other_arm_of(self, other: Candidate) -> bool:
        """The opposite arm in the same cell."""
        return self.cell == other.cell and self.trial.arm != other.trial.arm


@dataclass(frozen=True)
class Finalist:
    trial: Trial
    role: str  # "best", "opposite_arm", "opposite_level", "runner_up", "baseline", "other_objective" or "next_best"


def candidates_of(evidence: Evidence, stage: Stage, objectives: Sequence[Objective]) -> list[Candidate]:
    """Every trial of the stage that has all objectives' metrics, in order of numbers; those of another environment are left out."""
    fingerprint = evidence.environment.fingerprint if evidence.environment is not None else None
    wrong = wrong_answers(evidence.trials)
    trials = [
        trial
        for trial in evidence.trials
        if trial.stage is stage
        and in_arm(trial.arm, place_of(trial)) not in wrong
        and trial.study_id == evidence.study.id
        and (fingerprint is None or trial.environment in (None, fingerprint))
    ]
    usable, _ = usable_measurements(trials, evidence.measurements, MEASURED)
    cells = cells_of(trials)
    found = []
    for trial in sorted(trials, key=lambda item: item.number):
        if trial.id in usable:
            metrics = median_metrics(usable[trial.id])
            if all(objective.metric in metrics for objective in objectives):
                found.append(Candidate(trial, cells[trial.id], tuple(usable[trial.id]), metrics))
    return found


def feasible(candidates: Sequence[Candidate], slos: Sequence[Slo]) -> list[Candidate]:
    """Those that meet every SLO."""
    return [item for item in candidates if is_feasible(slos, item.metrics)]


def choose(candidates: Sequence[Candidate], objectives: Sequence[Objective], defaults: Json) -> Candidate:
    """The preferred one by the order of the module's text. Raises ValueError without candidates."""
    tied = list(candidates)
    for objective in objectives:
        tied = tied_with_best(tied, objective)
    return min(tied, key=lambda item: _simplicity(item, defaults))


def best_by_value(candidates: Sequence[Candidate], objective: Objective) -> Candidate:
    """The best number, whatever its simplicity; equal numbers: the lower trial number."""
    return min(candidates, key=lambda item: (-objective.direction.sign * item.metrics[objective.metric], item.trial.number))


def tied_with_best(candidates: Sequence[Candidate], objective: Objective) -> list[Candidate]:
    """Those whose value is within TIE_BAND of the best (`1 - TIE_BAND` of it, or better)."""
    best = best_by_value(candidates, objective).metrics[objective.metric]
    if objective.direction is Direction.MAXIMIZE:
        return [item for item in candidates if item.metrics[objective.metric] >= (1 - TIE_BAND) * best]
    return [item for item in candidates if item.metrics[objective.metric] * (1 - TIE_BAND) <= best]


def settings_changed(trial: Trial, defaults: Json) -> int:
    """How many of vLLM's known defaults this trial changes."""
    settings = searched_settings(trial)
    return sum(settings.get(name) != value for name, value in defaults.items())


def searched_settings(trial: Trial) -> Json:
    """Page size, chunk budget and factors, under vLLM's names."""
    return {"block_size": trial.block_size, "max_num_batched_tokens": trial.max_num_batched_tokens, **trial.factors}


def pareto_front(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> list[Candidate]:
    """Those that no other one matches in every objective and beats in one."""

    def scores(item: Candidate) -> list[float]:
        return [objective.direction.sign * item.metrics[objective.metric] for objective in objectives]

    def dominates(one: Candidate, other: Candidate) -> bool:
        ours, theirs = scores(one), scores(other)
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))

    return [item for item in candidates if not any(dominates(other, item) for other in candidates)]


def nearest_to_defaults(candidates: Sequence[Candidate], defaults: Json) -> Candidate | None:
    """The default arm's candidate with the fewest settings changed, then the nearest on a log scale; None without a default arm."""
    usable = [item for item in candidates if item.is_default_arm]

    def distance(item: Candidate) -> tuple[int, float, int]:
        apart = sum(_doublings(value, defaults.get(name)) for name, value in searched_settings(item.trial).items())
        return settings_changed(item.trial, defaults), apart, item.trial.number

    return min(usable, key=distance, default=None)


def _doublings(value: Any, default: Any) -> float:
    """Between two numbers above 0; 0 where one is no such number."""
    both = [item for item in (value, default) if isinstance(item, int | float) and not isinstance(item, bool) and item > 0]
    return abs(math.log2(both[0] / both[1])) if len(both) == 2 else 0.0


def pick_finalists(evidence: Evidence, objectives: Sequence[Objective], slos: Sequence[Slo]) -> tuple[Finalist, ...]:
    """Who is measured again, cold: the best number, its opposite arm in the same cell, its opposite level where another factor is compared,
    the best of the rest if within the tie band, the nearest to vLLM's own defaults (what the recommendation gains is told against it), and
    the best in each further objective.

    "Best of the rest" is what would be preferred among the others by the order of the module's text. The opposite arm and the
    baseline are taken even where they miss an SLO: the comparison needs them. Empty where no configuration is feasible.
    """
    candidates = candidates_of(evidence, Stage.SEARCH, objectives)
    fit = feasible(candidates, slos)
    if not fit:
        return ()
    best = best_by_value(fit, objectives[0])
    finalists = [Finalist(best.trial, "best")]
    finalists += [Finalist(item.trial, "opposite_arm") for item in candidates if item.is_other_arm_of(best)][:1]
    finalists += [Finalist(item.trial, "opposite_level") for item in _opposite_level(best, candidates, evidence.contrast, objectives[0])]
    taken = {finalist.trial.id for finalist in finalists}
    rest = [item for item in tied_with_best(fit, objectives[0]) if item.trial.id not in taken and not item.same_configuration(best)]
    if rest:
        finalists.append(Finalist(choose(rest, objectives, evidence.defaults).trial, "runner_up"))
    baseline = nearest_to_defaults(candidates, evidence.defaults) if evidence.defaults else None
    further = [] if baseline is None else [(baseline, "baseline")]
    further += [(best_by_value(fit, objective), "other_objective") for objective in objectives[1:]]
    for other, role in further:
        if all(not other.is_configuration_of(finalist.trial) for finalist in finalists):
            finalists.append(Finalist(other.trial, role))
    return tuple(finalists)


def _opposite_level(best: Candidate, candidates: Sequence[Candidate], contrast: Contrast, objective: Objective) -> list[Candidate]:
    """In the cell of `best`: the baseline level of the compared factor; of that one, the best other level. None where the arms are
    compared, or where no other level was measured."""
    if contrast.of_arms:
        return []
    beside = [item for item in candidates if item is not best and contrast.rest(item.trial) == contrast.rest(best.trial)]
    if contrast.level(best.trial) == contrast.baseline:
        return [best_by_value(beside, objective)] if beside else []
    return [item for item in beside if contrast.level(item.trial) == contrast.baseline][:1]


def next_best(evidence: Evidence, objectives: Sequence[Objective], slos: Sequence[Slo]) -> Finalist | None:
    """The best feasible configuration of the search that was not confirmed yet; None where none is left that promised more than the
    baseline, or where a confirmed one already meets every SLO (the baseline, confirmed for comparison only, does not count)."""
    searched = candidates_of(evidence, Stage.SEARCH, objectives)
    baseline = nearest_to_defaults(searched, evidence.defaults) if evidence.defaults else None
    holding = feasible(candidates_of(evidence, Stage.CONFIRM, objectives), slos)
    if any(baseline is None or not item.is_configuration_of(baseline.trial) for item in holding):
        return None
    tried = [trial for trial in evidence.trials if trial.stage is Stage.CONFIRM and trial.state not in UNFINISHED]
    fit = feasible(searched, slos)
    left = [item for item in fit if not any(item.is_configuration_of(trial) for trial in tried)]
    rivals = [item for item in fit if holding and baseline is not None and item.is_configuration_of(baseline.trial)]
    best = best_by_value([*rivals, *left], objectives[0]) if left else None
    return Finalist(best.trial, "next_best") if best is not None and best not in rivals else None


def _simplicity(item: Candidate, defaults: Json) -> tuple[bool, int, int, int, int]:
    trial = item.trial
    return (not item.is_default_arm, settings_changed(trial, defaults), -trial.block_size, trial.max_num_batched_tokens, trial.number)
