"""Paired comparison: log-ratios of the two arms of one round, honest intervals from few rounds, and verdicts. Pure.

The effect is the typical log(candidate / baseline) of a round, both measured in it: the mean of fewer than 12 pairs, the trimmed mean of
more (tuner.stats.samples). A ratio is always candidate / baseline; "better" respects the metric's direction. Interval: Student's t on
the log-ratios, with the degrees of freedom of the estimate.

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
contradict each other; the intervals are widened together (Benjamini and Yekutieli, JASA 2005, false coverage rate). Of m cells, the
different ones are judged at R/m * 5 %, R being the largest number of cells that are different at this level (Benjamini-Hochberg): where
nothing differs, any cell is called better or worse in at most 5 % of studies. The equivalent ones are judged at R'/m * 5 %, R' being the
largest number that are different, or equivalent at this level; so cells that are alike do not make a wrong difference likelier. One cell
alone keeps its plain 95 %. From three cells on no cell is taken to be quieter than half of the median one (noise_floor).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from tuner.core.errors import BadInput
from tuner.metrics.catalog import Direction
from tuner.stats.samples import UNBOUNDED, Sample, noise_floor, sample_of, typical_of
from tuner.stats.sequential import InterimPlan
from tuner.stats.student import two_sided_critical

EQUIVALENCE_RATIO = 1.01  # "equivalent": the whole interval lies in [1/1.01, 1.01], symmetric under a swap of the arms
ERROR_RATE = 0.05  # of an interval, 1 - confidence: a "level" is always this, never the confidence


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


def paired_log_ratios(baseline: Mapping[int, float], candidate: Mapping[int, float]) -> dict[int, float]:
    """Round -> log(candidate / baseline) for the rounds that both have. A value that is not positive has no ratio and drops its round."""
    both = ((number, baseline[number], candidate[number]) for number in sorted(baseline.keys() & candidate.keys()))
    return {number: math.log(other) - math.log(one) for number, one, other in both if 0 < one < math.inf and 0 < other < math.inf}


def p_value(log_ratios: Sequence[float], null_log: float = 0.0, *, plan: InterimPlan | None = None, floor: float = 0.0) -> float:
    """Two-sided: the smallest level (1 - confidence), all analyses of the plan together, at which the cell's interval excludes
    exp(null_log). 1.0 where there is no interval yet.

    `judge` at a level excludes it exactly where p_value <= level; so do the intervals of a family, at the level of a cell in it, with the
    family's noise_floor as `floor`.
    """
    sample = _sample_at(log_ratios, plan)
    return 1.0 if sample is None else _p_of(sample.at_least(floor), null_log, plan)


def interval_at(
    log_ratios: Sequence[float], level: float, *, plan: InterimPlan | None = None, floor: float = 0.0
) -> tuple[float, float] | None:
    """The interval (low, high) of one cell's candidate / baseline at `level`, all analyses of the plan together. None where there is none:
    too few pairs, or UNBOUNDED."""
    sample = _sample_at(log_ratios, plan)
    if sample is None:
        return None
    half = sample.at_least(floor).half_width(level if plan is None else plan.level_at(sample.pairs, level))
    return None if half > UNBOUNDED else (math.exp(sample.mean - half), math.exp(sample.mean + half))


def floor_of(log_ratios: Iterable[Sequence[float]], plan: InterimPlan | None = None) -> float:
    """The noise_floor of a family: see judge_family."""
    return noise_floor(sample for values in log_ratios if (sample := _sample_at(values, plan)) is not None)


def _sample_at(log_ratios: Sequence[float], plan: InterimPlan | None) -> Sample | None:
    """None below two pairs and before the plan's first analysis."""
    return None if len(log_ratios) < (2 if plan is None else plan.first) else typical_of(log_ratios)


def _p_of(sample: Sample, null_log: float, plan: InterimPlan | None) -> float:
    own = sample.p_at(null_log)
    return own if plan is None else plan.overall(sample.pairs, own)


def _p_equivalent(sample: Sample, plan: InterimPlan | None) -> float:
    """The smallest level at which the interval excludes both ends of the range of equivalence from inside (two one-sided tests, Schuirmann
    1987); 1.0 where the middle is outside."""
    margin = math.log(EQUIVALENCE_RATIO)
    return _p_of(sample, math.copysign(margin, sample.mean), plan) if abs(sample.mean) <= margin else 1.0


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
    samples = {key: typical_of(values) if len(values) >= 2 else None for key, values in log_ratios.items()}
    known = {key: sample for key, sample in samples.items() if sample is not None and (plan is None or sample.pairs >= plan.first)}
    floor = noise_floor(known.values())
    known = {key: sample.at_least(floor) for key, sample in known.items()}
    asked = max(1, sum(sample is not None for sample in samples.values()))
    equivalent = {key: _p_equivalent(sample, plan) for key, sample in known.items()}
    levels = _levels({key: _p_of(sample, 0.0, plan) for key, sample in known.items()}, equivalent, level / asked)
    effects: dict[Key, Effect] = {}
    for key, sample in samples.items():
        if sample is None:
            effects[key] = Effect(len(log_ratios[key]), None, None, None, Verdict.INCONCLUSIVE, family_level=level)
            continue
        effect = Effect(sample.pairs, math.exp(sample.mean), None, None, Verdict.INCONCLUSIVE, family_level=level, sd=sample.sd)
        cell_level = levels.equivalent if equivalent.get(key, 1.0) <= levels.equivalent else levels.different
        effects[key] = _judged(effect, known[key], direction, cell_level, plan) if key in known else effect
    return effects


@dataclass(frozen=True)
class _Levels:
    """1 - confidence of a cell, all its analyses together: of those that are equivalent, and of all others."""

    different: float
    equivalent: float


def _levels[Key: Hashable](different: Mapping[Key, float], equivalent: Mapping[Key, float], each: float) -> _Levels:
    """See the module's text. `each`: the level of the family over its number of cells."""
    found = _step_up(sorted(different.values()), each)
    own = each * max(1, found)
    others = sorted(p for key, p in equivalent.items() if different[key] > own)
    both = sorted([*(0.0 for p in different.values() if p <= own), *others])
    return _Levels(own, each * max(1, _step_up(both, each)))


def _step_up(p_values: Sequence[float], each: float) -> int:
    """The largest number R of these sorted values that are at most R x `each` (Benjamini and Hochberg 1995)."""
    return max((count for count, p in enumerate(p_values, start=1) if p <= each * count), default=0)


def _judged(effect: Effect, sample: Sample, direction: Direction, cell_level: float, plan: InterimPlan | None) -> Effect:
    """With its interval at `cell_level` and the verdict of that."""
    own_level = cell_level if plan is None else plan.level_at(sample.pairs, cell_level)
    half = sample.half_width(own_level)
    if half > UNBOUNDED:
        return replace(effect, level=own_level)
    low, high = math.exp(sample.mean - half), math.exp(sample.mean + half)
    return replace(effect, low=low, high=high, verdict=verdict_of(low, high, direction), level=own_level)


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


def robust_spread(values: Sequence[float]) -> float:
    """Median absolute deviation, scaled by 1.4826 to equal the standard deviation of normal noise."""
    centre = median(values)
    return 1.4826 * median(abs(value - centre) for value in values)
