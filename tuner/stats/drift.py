"""Did the machine change during a study? Drift of the baseline, and rounds disturbed from outside. Pure.

None of the rules looks at which arm a value belongs to, and each treats high and low alike, so none can prefer an arm: on the log scale
a rule sees settings only through their common level in a round.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from statistics import median

import numpy as np
from numpy.typing import NDArray

from tuner.stats.intervals import robust_spread
from tuner.stats.samples import ROBUST_FROM

DRIFT_LEVEL = 0.05  # of both tests together
DRIFT_RATIO = 1.02  # a significant drift below 2 % is left alone: pairing removes it
OUTLIER_SPREADS = 5.0
OUTLIER_RATIO = 1.02  # a round is never an outlier for less than 2 %
MIN_ROUNDS_FOR_OUTLIERS = 5
MIN_ROUNDS_FOR_SHIFT = 5
_NULL_SIMULATIONS = 20_000
_SEED = 19878
_SAME = 1e-9  # smaller differences of logarithms are rounding of the arithmetic, not an order


@dataclass(frozen=True)
class DriftReport:
    """What the baseline did over the rounds. Ratios are later / earlier; p-values are None below five rounds.

    `drifted_rounds` are those off the reference by more than DRIFT_RATIO: the rounds of the shorter side of a level shift (the
    earlier on a tie), or for a trend those away from the median.
    """

    rounds: int
    drifted: bool
    kind: str  # "none", "trend", "shift"
    trend_ratio: float | None = None  # from the first round to the last, Theil-Sen
    trend_p: float | None = None
    shift_ratio: float | None = None
    shift_after_round: int | None = None
    shift_p: float | None = None
    drifted_rounds: tuple[int, ...] = ()


def detect_drift(baseline: Mapping[int, float]) -> DriftReport:
    """Test one setting's positive values by round for a trend (Mann-Kendall, exact) and for a level shift (largest two-sample t over all
    splits).

    Each test has half of DRIFT_LEVEL; the baseline drifted if one is significant and its size is above DRIFT_RATIO. Values that are
    not positive and finite are left out.
    """
    rounds = [number for number in sorted(baseline) if math.isfinite(baseline[number]) and baseline[number] > 0]
    if len(rounds) < MIN_ROUNDS_FOR_SHIFT:
        return DriftReport(len(rounds), False, "none")
    logs = np.log([baseline[number] for number in rounds])
    trend_p, slope = kendall_p(logs), theil_sen_slope(rounds, logs)
    trend = slope * (rounds[-1] - rounds[0])
    split, statistic = _largest_shift(logs)
    shift = float(logs[split:].mean() - logs[:split].mean())
    null = _shift_null(len(rounds))
    shift_p = float((1 + np.sum(null >= statistic)) / (1 + len(null)))
    threshold = math.log(DRIFT_RATIO)
    has_trend = trend_p < DRIFT_LEVEL / 2 and abs(trend) > threshold
    has_shift = shift_p < DRIFT_LEVEL / 2 and abs(shift) > threshold
    kind = "none"
    if has_trend or has_shift:
        kind = "shift" if has_shift and (not has_trend or _shift_explains_more(rounds, logs, split, slope)) else "trend"
    return DriftReport(
        rounds=len(rounds),
        drifted=kind != "none",
        kind=kind,
        trend_ratio=math.exp(trend),
        trend_p=trend_p,
        shift_ratio=math.exp(shift),
        shift_after_round=rounds[split - 1],
        shift_p=shift_p,
        drifted_rounds=_drifted_rounds(kind, rounds, logs, split),
    )


def kendall_p(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Two-sided exact p-value of Mann-Kendall's trend test (Kendall, Rank Correlation Methods). Ties count as no order: cautious."""
    array = np.asarray(values, dtype=float)
    count = len(array)
    first, second = _pairs_of(count)
    differences = array[second] - array[first]
    return _p_of_score(count, abs(int((differences >= _SAME).sum()) - int((differences <= -_SAME).sum())))


def theil_sen_slope(positions: Sequence[float], values: Sequence[float] | NDArray[np.float64]) -> float:
    """Median of the slopes of all pairs of points; per unit of `positions`, which must differ. Needs two points."""
    x, y = np.asarray(positions, dtype=float), np.asarray(values, dtype=float)
    first, second = _pairs_of(len(x))
    return float(median(((y[second] - y[first]) / (x[second] - x[first])).tolist()))


def outlier_rounds(values: Mapping[str, Mapping[int, float]]) -> frozenset[int]:
    """Rounds disturbed from outside. `values`: setting -> round -> positive value of one metric.

    A round's level is the median over settings of log(value / the setting's own median), so it knows no arm. A round is out if its level
    is more than OUTLIER_SPREADS robust standard deviations, and more than OUTLIER_RATIO, away from the median level, on either side, and
    that of no round next to it is on the same side: where the level stays, the machine has changed, and both arms of a pair feel it. Below
    MIN_ROUNDS_FOR_OUTLIERS rounds nothing is out.
    """
    levels = round_levels(values)
    if len(levels) < MIN_ROUNDS_FOR_OUTLIERS:
        return frozenset()
    limit = max(OUTLIER_SPREADS * robust_spread(list(levels.values())), math.log(OUTLIER_RATIO))
    centre = median(levels.values())
    sides = [0 if abs(level - centre) <= limit else math.copysign(1, level - centre) for level in levels.values()]
    alone = zip(levels, [0, *sides], sides, [*sides[1:], 0], strict=False)
    return frozenset(number for number, before, side, after in alone if side and side not in (before, after))


def without_disturbed(ratios: Mapping[int, float], disturbed: Collection[int]) -> dict[int, float]:
    """Round -> log-ratio of the pairs that a cell is judged by. From ROBUST_FROM pairs on that is all of them: the estimate itself leaves
    the extreme ones out, and knows the noise better than a rule that takes whole rounds away."""
    if len(ratios) >= ROBUST_FROM:
        return dict(ratios)
    return {number: value for number, value in ratios.items() if number not in disturbed}


def round_levels(values: Mapping[str, Mapping[int, float]]) -> dict[int, float]:
    """Round -> common level of all settings in it (log scale, 0 = usual). Values that are not positive and finite are left out."""
    deviations: dict[int, list[float]] = {}
    for series in values.values():
        logs = {number: math.log(value) for number, value in series.items() if 0 < value < math.inf}
        if logs:
            centre = median(logs.values())
            for number, value in logs.items():
                deviations.setdefault(number, []).append(value - centre)
    return {number: median(deviations[number]) for number in sorted(deviations)}


@lru_cache(maxsize=64)
def _pairs_of(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the earlier and the later of every two of `count` values."""
    first, second = np.triu_indices(count, 1)
    return first, second


@lru_cache(maxsize=4096)
def _p_of_score(count: int, score: int) -> float:
    """P(|Kendall's score| >= `score`) of `count` values in random order."""
    pairs = count * (count - 1) // 2
    extreme = sum(number for inversions, number in enumerate(_inversion_counts(count)) if abs(pairs - 2 * inversions) >= score)
    return extreme / math.factorial(count)


@lru_cache(maxsize=64)
def _inversion_counts(count: int) -> tuple[int, ...]:
    """[pairs + 1] number of permutations of `count` items with 0, 1, ... inversions (Mahonian numbers)."""
    ways = [1]
    for size in range(2, count + 1):
        # The new item makes 0 to size - 1 inversions: sums over a sliding window.
        padded = [*accumulate(ways), *[sum(ways)] * (size - 1)]
        ways = [total - (padded[index - size] if index >= size else 0) for index, total in enumerate(padded)]
    return tuple(ways)


def _largest_shift(logs: NDArray[np.float64]) -> tuple[int, float]:
    """(split, |t|) of the split into first and later rounds, two or more on each side, with the largest two-sample t."""
    statistics = _split_t(logs[None, :])[0]
    split = int(statistics.argmax())
    return split + 2, float(statistics[split])


def _split_t(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N x splits] |t| with pooled variance, of each row of [N x rounds], split before round 2, 3, ... rounds - 2."""
    total = rows.shape[1]
    left = np.arange(2, total - 1)
    right = total - left
    centred = rows - rows.mean(axis=1, keepdims=True)
    sums = centred.cumsum(axis=1)[:, 1 : total - 2]  # of the left side; the right side's is the same, below zero
    within = (centred**2).sum(axis=1, keepdims=True) - sums**2 * (1 / left + 1 / right)
    scale = np.sqrt(np.maximum(within / (total - 2), 1e-30) * (1 / left + 1 / right))
    return np.asarray(np.abs(sums) * (1 / left + 1 / right) / scale)


@lru_cache(maxsize=32)
def _shift_null(rounds: int) -> NDArray[np.float64]:
    """[_NULL_SIMULATIONS] largest |t| over the splits of normal noise without a shift."""
    noise = np.random.default_rng(_SEED).standard_normal((_NULL_SIMULATIONS, rounds))
    return np.asarray(_split_t(noise).max(axis=1))


def _shift_explains_more(rounds: Sequence[int], logs: NDArray[np.float64], split: int, slope: float) -> bool:
    line = logs - slope * np.array(rounds)
    left_right = np.concatenate([logs[:split] - logs[:split].mean(), logs[split:] - logs[split:].mean()])
    return float(np.sum(left_right**2)) <= float(np.sum((line - np.median(line)) ** 2))


def _drifted_rounds(kind: str, rounds: Sequence[int], logs: NDArray[np.float64], split: int) -> tuple[int, ...]:
    if kind == "shift":
        return tuple(rounds[:split] if split <= len(rounds) - split else rounds[split:])
    if kind == "trend":
        away = np.abs(logs - np.median(logs)) > math.log(DRIFT_RATIO)
        return tuple(number for number, out in zip(rounds, away, strict=True) if out)
    return ()
