"""Paired comparison: log-ratios of the two arms of one round, honest intervals from few rounds, and verdicts. Pure.

The effect is the mean over rounds of log(candidate / baseline), both measured in the same round; as a ratio it is a geometric mean. A
ratio is always candidate / baseline; "better" respects the metric's direction. Interval: Student's t on the log-ratios.

Why not a bootstrap: with 3 to 12 rounds there is little to resample. Coverage in % of nominal 95 % intervals by simulation, as
`python -m bench.null_and_power` prints it (noise of a window, in both arms; more rounds counts there):

    noise            rounds   Student t   percentile    BCa   bootstrap-t
    normal              3        94.8         75.9     72.3   100.0 (unbounded)
    normal              5        94.7         82.5     83.0    94.0
    normal             12        95.1         88.7     88.7    92.3
    t3                  3        96.0         76.3     72.6   100.0 (unbounded)
    t3                  5        96.0         81.7     81.0    93.7
    t3                 12        95.6         89.1     87.3    92.7
    skewed              3        96.7         73.6     69.7   100.0 (unbounded)
    skewed              5        96.6         82.3     80.6    94.7
    skewed             12        95.6         89.3     87.1    91.2
    skewed, one arm     5        88.4         76.9     79.1    92.5
    skewed, one arm    12        90.3         87.4     88.9    94.3

Skewed noise common to both arms cancels in the difference. The last two rows are Student's limit: strongly skewed (exponential) noise in
one arm and none in the other; bootstrap-t would be nearer there, for intervals 1.2 to 1.5 times as wide, and is useless at three rounds.

Families: a study asks the same question in many cells. The verdict of a cell is a function of its interval alone, so the two cannot
contradict each other; the intervals are widened together (Benjamini and Yekutieli, JASA 2005, false coverage rate): with R of m cells
decided, each interval has the level R/m * 5 %, R being the largest number for which that many cells are decided. For the excluded "no
difference" this is Benjamini-Hochberg; the expected fraction of wrong ones among the decided cells is at most 5 %, and one cell alone keeps
its plain 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tuner.core.errors import BadInput
from tuner.metrics.catalog import Direction
from tuner.stats.sequential import InterimPlan
from tuner.stats.student import p_of_one, two_sided_critical

EQUIVALENCE_RATIO = 1.01  # "equivalent": the whole interval lies in [1/1.01, 1.01], symmetric under a swap of the arms
ERROR_RATE = 0.05  # of an interval, 1 - confidence: a "level" is always this, never the confidence
UNBOUNDED = math.log(1e6)  # an interval that reaches further from its middle says nothing: two rounds of much noise give such ones


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"

    @property
    def decided(self) -> bool:
        return self is not Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class Effect:
    """One paired comparison. `ratio` is None below two pairs; `low` and `high` are None before the first interim analysis, and where the
    interval is so wide that it says nothing (UNBOUNDED).

    `level` is 1 - confidence of this very interval, after the corrections for repeated analyses and for the family; `family_level` is what
    they keep together. `sd` is the standard deviation of the log-ratios, None below two pairs.
    """

    pairs: int
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    level: float | None = None
    family_level: float = ERROR_RATE
    sd: float | None = None


@dataclass(frozen=True)
class Sample:
    """Mean and standard deviation of `pairs` log-ratios."""

    pairs: int
    mean: float
    sd: float

    @property
    def standard_error(self) -> float:
        return self.sd / math.sqrt(self.pairs)

    def half_width(self, level: float) -> float:
        """Half the width of Student's interval on the log scale; `level` = 1 - confidence."""
        return two_sided_critical(level, self.pairs - 1) * self.standard_error

    def p_at(self, log: float) -> float:
        """The level at which this end of the interval is exactly `log`: below it the interval holds `log`, above it does not."""
        away = min(abs(self.mean - log), UNBOUNDED)
        if self.standard_error == 0:
            return 0.0 if away > 0 else 1.0
        return p_of_one(away / self.standard_error, self.pairs - 1)


def paired_log_ratios(baseline: Mapping[int, float], candidate: Mapping[int, float]) -> dict[int, float]:
    """Round -> log(candidate / baseline) for the rounds that both have. A value that is not positive has no ratio and drops its round."""
    usable = (
        number
        for number in sorted(baseline.keys() & candidate.keys())
        if all(math.isfinite(v) and v > 0 for v in (baseline[number], candidate[number]))
    )
    return {number: math.log(candidate[number]) - math.log(baseline[number]) for number in usable}


def sample_of(log_ratios: Sequence[float]) -> Sample:
    """Raises ValueError below two values. Sums are exact (math.fsum), so that the order of rounds cannot matter."""
    count = len(log_ratios)
    if count < 2:
        raise ValueError("a sample needs two pairs or more")
    mean = math.fsum(log_ratios) / count
    return Sample(count, mean, math.sqrt(math.fsum((value - mean) ** 2 for value in log_ratios) / (count - 1)))


def p_value(log_ratios: Sequence[float], null_log: float = 0.0, *, plan: InterimPlan | None = None) -> float:
    """Two-sided: the smallest level (1 - confidence), all analyses of the plan together, at which the cell's interval excludes
    exp(null_log). 1.0 where there is no interval yet.

    `judge` at a level excludes it exactly where p_value <= level; so do the intervals of a family, at the level of a cell in it.
    """
    return _p_of(_sample_at(log_ratios, plan), null_log, plan)


def interval_at(log_ratios: Sequence[float], level: float, *, plan: InterimPlan | None = None) -> tuple[float, float] | None:
    """The interval (low, high) of one cell's candidate / baseline at `level`, all analyses of the plan together. None where there is none:
    too few pairs, or UNBOUNDED."""
    sample = _sample_at(log_ratios, plan)
    if sample is None:
        return None
    half = sample.half_width(level if plan is None else plan.level_at(sample.pairs, level))
    return None if half > UNBOUNDED else (math.exp(sample.mean - half), math.exp(sample.mean + half))


def _sample_at(log_ratios: Sequence[float], plan: InterimPlan | None) -> Sample | None:
    """None below two pairs and before the plan's first analysis."""
    return None if len(log_ratios) < (2 if plan is None else plan.first) else sample_of(log_ratios)


def _p_of(sample: Sample | None, null_log: float, plan: InterimPlan | None) -> float:
    if sample is None:
        return 1.0
    own = sample.p_at(null_log)
    return own if plan is None else plan.overall(sample.pairs, own)


def _level_to_decide(sample: Sample | None, plan: InterimPlan | None) -> float:
    """The smallest level at which the cell has a verdict: different, or equivalent, for which its interval excludes both ends of the range
    from inside (two one-sided tests, Schuirmann 1987)."""
    if sample is None:
        return 1.0
    margin = math.log(EQUIVALENCE_RATIO)
    level = _p_of(sample, 0.0, plan)
    if abs(sample.mean) <= margin:
        level = min(level, _p_of(sample, math.copysign(margin, sample.mean), plan))  # the nearer end
    return level


def verdict_of(low: float, high: float, direction: Direction) -> Verdict:
    """The verdict of an interval of candidate / baseline. Equivalent comes first: a difference too small to matter is not a gain."""
    if low >= 1 / EQUIVALENCE_RATIO and high <= EQUIVALENCE_RATIO:
        return Verdict.EQUIVALENT
    if low > 1:
        return Verdict.BETTER if direction is Direction.MAXIMIZE else Verdict.WORSE
    if high < 1:
        return Verdict.WORSE if direction is Direction.MAXIMIZE else Verdict.BETTER
    return Verdict.INCONCLUSIVE


def judge(log_ratios: Sequence[float], direction: Direction, *, level: float = ERROR_RATE, plan: InterimPlan | None = None) -> Effect:
    """A single comparison. `plan` None: the data are analysed only once."""
    return judge_family({"": log_ratios}, direction, level=level, plan=plan)[""]


def judge_family[Key: Hashable](
    log_ratios: Mapping[Key, Sequence[float]],
    direction: Direction,
    *,
    level: float = ERROR_RATE,
    plan: InterimPlan | None = None,
) -> dict[Key, Effect]:
    """All cells of one question together; see the module's text for the correction. Raises BadInput for a level outside (0, 1).

    A cell with fewer than two pairs is inconclusive, gets no interval, and does not count as one of the family.
    """
    if not 0 < level < 1:
        raise BadInput(f"level {level} must be between 0 and 1, for instance 0.05 for intervals of 95 %")
    samples = {key: sample_of(values) if len(values) >= 2 else None for key, values in log_ratios.items()}
    ready = [sample for sample in samples.values() if sample is not None and (plan is None or sample.pairs >= plan.first)]
    asked = max(1, sum(sample is not None for sample in samples.values()))
    needed = sorted(_level_to_decide(sample, plan) for sample in ready)
    decided = max((count for count, p in enumerate(needed, start=1) if p <= level * count / asked), default=0)
    judged = _Judge(direction, level * max(1, decided) / asked, level, plan)
    return {key: judged.effect(sample, len(log_ratios[key])) for key, sample in samples.items()}


@dataclass(frozen=True)
class _Judge:
    """How each cell is judged. `cell_level`: 1 - confidence of a cell, all its analyses together; `family_level`: of all cells."""

    direction: Direction
    cell_level: float
    family_level: float
    plan: InterimPlan | None

    def effect(self, sample: Sample | None, pairs: int) -> Effect:
        """`sample` None: fewer than two pairs."""
        if sample is None:
            return Effect(pairs, None, None, None, Verdict.INCONCLUSIVE, family_level=self.family_level)
        open_ended = Effect(pairs, math.exp(sample.mean), None, None, Verdict.INCONCLUSIVE, family_level=self.family_level, sd=sample.sd)
        if self.plan is not None and pairs < self.plan.first:
            return open_ended
        own_level = self.plan.level_at(pairs, self.cell_level) if self.plan is not None else self.cell_level
        half = sample.half_width(own_level)
        if half > UNBOUNDED:
            return replace(open_ended, level=own_level)
        low, high = math.exp(sample.mean - half), math.exp(sample.mean + half)
        verdict = verdict_of(low, high, self.direction)
        return replace(open_ended, low=low, high=high, verdict=verdict, level=own_level)


def log_mean_interval(values: Sequence[float], level: float = ERROR_RATE) -> tuple[float, float] | None:
    """Interval for the geometric mean of positive measurements (Student's t on the logs). None below two, where one is not positive, and
    where the interval is UNBOUNDED."""
    if len(values) < 2 or not all(math.isfinite(value) and value > 0 for value in values):
        return None
    sample = sample_of([math.log(value) for value in values])
    half = sample.half_width(level)
    return None if half > UNBOUNDED else (math.exp(sample.mean - half), math.exp(sample.mean + half))


def welch_interval(candidate: Sequence[float], baseline: Sequence[float], level: float = ERROR_RATE) -> tuple[float, float] | None:
    """Interval of the ratio of two geometric means whose windows are no pairs (Welch 1947, degrees of freedom rounded down).

    None below two values on a side, where one is not positive and finite, and where the interval is UNBOUNDED.
    """
    sides = candidate, baseline
    if any(len(side) < 2 or not all(math.isfinite(value) and value > 0 for value in side) for side in sides):
        return None
    ours, theirs = (sample_of([math.log(value) for value in side]) for side in sides)
    parts = ours.standard_error**2, theirs.standard_error**2
    error = math.sqrt(sum(parts))
    weights = parts[0] ** 2 / (ours.pairs - 1) + parts[1] ** 2 / (theirs.pairs - 1)
    df = max(1, int(sum(parts) ** 2 / weights)) if weights > 0 else 1
    half = two_sided_critical(level, df) * error
    centre = ours.mean - theirs.mean
    return None if half > UNBOUNDED else (math.exp(centre - half), math.exp(centre + half))


def robust_spread(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Median absolute deviation, scaled by 1.4826 to equal the standard deviation of normal noise."""
    array = np.asarray(values, dtype=float)
    return 1.4826 * float(np.median(np.abs(array - np.median(array))))
