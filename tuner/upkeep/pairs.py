"""Pairs of any two configurations of one study, whatever the study itself compares. Pure.

As in tuner.verdict.cell_pairs: a pair is one round of one engine start, or two starts of one block where each needs an engine of its own
(tuner.verdict.cold_pairs). What must not enter a verdict enters none here either.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.records import Measurement, Stage, Trial
from tuner.setup.space import Configuration
from tuner.stats.intervals import paired_log_ratios
from tuner.verdict.cold_pairs import LEAST_STARTS, start_pairs
from tuner.verdict.evidence import COMPARABLE, Evidence, first_by_round, origin_by_round, usable_measurements

LEAST_ROUNDS = 3


def searched(evidence: Evidence, configuration: Configuration) -> Trial | None:
    """Its trial of the search stage."""
    trials = (trial for trial in evidence.trials if trial.stage is Stage.SEARCH)
    return next((trial for trial in trials if Configuration.of_trial(trial) == configuration), None)


def log_ratios(
    evidence: Evidence, baseline: Configuration, candidate: Configuration, metric: str, *, windows: int | None
) -> tuple[float, ...]:
    """log(candidate / baseline) of each pair, [pairs]; `windows`: of an engine start, None where rounds are the pairs. Empty where there
    are fewer pairs than can decide anything."""
    usable, _ = usable_measurements(evidence.trials, evidence.measurements, COMPARABLE, in_pairs=True)
    sides = [searched(evidence, item) for item in (baseline, candidate)]
    if sides[0] is None or sides[1] is None:
        return ()
    one, other = (usable.get(side.id, []) for side in sides if side is not None)
    values = _values(one, metric), _values(other, metric)
    origins = origin_by_round(one, metric), origin_by_round(other, metric)
    if windows is not None and baseline.engine != candidate.engine:
        found = start_pairs(*values, origins, windows=windows)
        return tuple(found.values()) if len(found) >= LEAST_STARTS else ()
    ratios = paired_log_ratios(*values)
    same = [value for number, value in ratios.items() if origins[0][number] == origins[1][number]]
    return tuple(same) if len(same) >= LEAST_ROUNDS else ()


def _values(measurements: list[Measurement], metric: str) -> Mapping[int, float]:
    return {number: float(item.metrics[metric]) for number, item in first_by_round(measurements, metric).items()}
