"""Simulated noise, the interval methods that were compared, and simulated studies, for bench/null_and_power.py. No printing here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tuner.metrics.catalog import Direction
from tuner.stats.adaptive import decide_rounds
from tuner.stats.intervals import ERROR_RATE, Effect, judge_family
from tuner.stats.pooling import PooledEffect, pool
from tuner.stats.racing import race
from tuner.stats.samples import t_of_rows, typical_of
from tuner.stats.sequential import InterimPlan
from tuner.stats.student import two_sided_critical, two_sided_p
from tuner.trials.rounds import level_of_part, round_order

Array = NDArray[np.float64]
Interval = tuple[Array, Array]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student's t with 3 degrees of freedom, scaled to standard deviation 1."""
    return np.asarray(rng.standard_t(3, shape) / math.sqrt(3))


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Exponential, centred: now and then a window is slow."""
    return np.asarray(rng.exponential(1.0, shape) - 1.0)


NOISES: dict[str, Noise] = {"normal": normal, "t3": heavy_tailed, "skewed": skewed}


def log_ratios(rng: np.random.Generator, noise: Noise, shape: tuple[int, ...]) -> Array:
    """Noise of a window in both arms."""
    return noise(rng, shape) - noise(rng, shape)


# interval methods: [N x rounds] and its resamples [N x resamples x rounds] -> lower and upper ends [N], for the mean of the rows


def student_interval(rows: Array, level: float) -> Interval:
    count = rows.shape[1]
    half = two_sided_critical(level, count - 1) * rows.std(axis=1, ddof=1) / math.sqrt(count)
    mean = rows.mean(axis=1)
    return mean - half, mean + half


def percentile_interval(resampled: Array, level: float) -> Interval:
    means = resampled.mean(axis=2)
    return np.quantile(means, level / 2, axis=1), np.quantile(means, 1 - level / 2, axis=1)


def bootstrap_t_interval(rows: Array, resampled: Array, level: float) -> Interval:
    """Efron and Tibshirani 1993, 12.5. A resample of one repeated value has no scale: its t is infinite, and so may be the interval."""
    count = rows.shape[1]
    mean, error = rows.mean(axis=1), rows.std(axis=1, ddof=1) / math.sqrt(count)
    means, errors = resampled.mean(axis=2), resampled.std(axis=2, ddof=1) / math.sqrt(count)
    difference = means - mean[:, None]
    t = np.where(errors > 1e-12, difference / np.maximum(errors, 1e-12), np.sign(difference) * 1e9)
    return mean - np.quantile(t, 1 - level / 2, axis=1) * error, mean - np.quantile(t, level / 2, axis=1) * error


def bca_interval(rows: Array, resampled: Array, level: float) -> Interval:
    """Bias-corrected and accelerated: Efron and Tibshirani 1993, 14.3."""
    count, standard = rows.shape[1], NormalDist()
    mean, means = rows.mean(axis=1), np.sort(resampled.mean(axis=2), axis=1)
    below = (means < mean[:, None]).mean(axis=1) + 0.5 * (means == mean[:, None]).mean(axis=1)
    bias = np.vectorize(standard.inv_cdf)(np.clip(below, 1e-3, 1 - 1e-3))
    left_out = (rows.sum(axis=1, keepdims=True) - rows) / (count - 1)
    away = left_out.mean(axis=1, keepdims=True) - left_out
    acceleration = (away**3).sum(axis=1) / (6 * (away**2).sum(axis=1) ** 1.5 + 1e-30)
    ends = []
    for fraction in (level / 2, 1 - level / 2):
        shifted = bias + standard.inv_cdf(fraction)
        at = np.vectorize(standard.cdf)(bias + shifted / (1 - acceleration * shifted))
        index = np.clip((at * means.shape[1]).astype(int), 0, means.shape[1] - 1)
        ends.append(means[np.arange(len(means)), index])
    return ends[0], ends[1]


def coverage_of_methods(rng: np.random.Generator, rows: Array, resamples: int, level: float = ERROR_RATE) -> tuple[dict[str, float], float]:
    """(method -> fraction of rows whose interval covers the true mean 0, median width of bootstrap-t over Student's t)."""
    resampled = rows[:, rng.integers(0, rows.shape[1], (resamples, rows.shape[1]))]
    intervals = {
        "Student t": student_interval(rows, level),
        "percentile": percentile_interval(resampled, level),
        "BCa": bca_interval(rows, resampled, level),
        "bootstrap-t": bootstrap_t_interval(rows, resampled, level),
    }
    width = {name: float(np.median(high - low)) for name, (low, high) in intervals.items()}
    return {name: covered(interval) for name, interval in intervals.items()}, width["bootstrap-t"] / width["Student t"]


def covered(interval: Interval) -> float:
    low, high = interval
    return float(np.mean((low <= 0) & (high >= 0)))


def p_by_analysis(rows: Array, first: int) -> Array:
    """[N x analyses] two-sided p of what cells are judged by (tuner.stats.samples) after each of the rounds first..last."""
    return np.stack([two_sided_p(*t_of_rows(rows[:, :n])) for n in range(first, rows.shape[1] + 1)], axis=1)


def covered_at_every_analysis(rows: Array, plan: InterimPlan, level: float = ERROR_RATE) -> float:
    """Fraction of rows whose intervals all cover 0, over all interim analyses of the plan."""
    levels = np.array([plan.level_at(n, level) for n in range(plan.first, plan.last + 1)])
    return float(np.mean((p_by_analysis(rows, plan.first) >= levels).all(axis=1)))


@dataclass(frozen=True)
class StudyOutcome:
    effects: dict[int, Effect]
    rounds: float  # mean rounds per cell
    pooled: PooledEffect | None
    log_ratios: dict[int, list[float]]


def simulate_study(
    rng: np.random.Generator,
    true_log: Sequence[float],
    sd: float,
    plan: InterimPlan,
    noise: Noise = normal,
    *,
    give_up: bool = True,
    engines: int = 1,
    sure_level: float | None = None,
) -> StudyOutcome:
    """One study by the product's own rules. `true_log`: [cells] effects; `sd`: noise of one window on the log scale.

    `give_up` False goes on in spite of futility, to see what giving up costs. The cells are dealt out to `engines`, each of which decides
    by its own cells how many rounds it makes; the verdicts are those over all cells, as tuner.verdict.compare gives them.
    """
    values: dict[int, list[float]] = {cell: [] for cell in range(len(true_log))}
    for engine in range(engines):
        inside: dict[int, list[float]] = {cell: values[cell] for cell in range(engine, len(true_log), engines)}
        _measure(rng, inside, true_log, sd, plan, noise, give_up=give_up, sure_level=sure_level)
    effects = judge_family(values, Direction.MAXIMIZE, plan=plan)
    pooled = pool([typical_of(found) for found in values.values()], Direction.MAXIMIZE, plan=plan)
    return StudyOutcome(effects, sum(map(len, values.values())) / len(values), pooled, values)


def _measure(
    rng: np.random.Generator,
    values: dict[int, list[float]],
    true_log: Sequence[float],
    sd: float,
    plan: InterimPlan,
    noise: Noise,
    *,
    give_up: bool,
    sure_level: float | None = None,
) -> None:
    """The rounds of one engine, added to `values`: cell -> log-ratios."""
    still_open: Sequence[int] = tuple(values)
    for done in range(1, plan.last + 1):
        for cell in still_open:
            values[cell].append(true_log[cell] + sd * float(log_ratios(rng, noise, ())))
        part = level_of_part(len(values), len(true_log))
        decision = decide_rounds(values, Direction.MAXIMIZE, plan, level=part, rounds_done=done, sure_level=sure_level)
        still_open = decision.open_cells if give_up else [cell for cell in values if cell not in decision.decided]
        if not still_open:
            break


def race_once(rng: np.random.Generator, true_log: Sequence[float], sds: Sequence[float], noise: Noise, rounds: int) -> tuple[bool, float]:
    """(whether setting 0, the best or tied with it, survived; fraction of the windows of a full grid that were spent)."""
    values: dict[str, dict[int, float]] = {f"{index:03d}": {} for index in range(len(true_log))}
    active: Sequence[str] = tuple(values)
    windows = 0
    for number in range(rounds):
        for name in active:
            setting = int(name)
            values[name][number] = math.exp(true_log[setting] + sds[setting] * float(noise(rng, ())))
        windows += len(active)
        active = race(values, Direction.MAXIMIZE, active=active, plan=InterimPlan(3, rounds)).active
    return "000" in active, windows / (rounds * len(true_log))


def white(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """[N x windows] no window knows the one before it."""
    return rng.standard_normal(shape)


def autoregressive(rng: np.random.Generator, shape: tuple[int, int], memory: float = 0.8) -> Array:
    """[N x windows] AR(1) with standard deviation 1: each window keeps `memory` of the one before it."""
    values = rng.standard_normal(shape)
    for window in range(1, shape[1]):
        values[:, window] = memory * values[:, window - 1] + math.sqrt(1 - memory**2) * values[:, window]
    return values


def random_walk(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """[N x windows] steps of standard deviation 1 between windows."""
    return rng.standard_normal(shape).cumsum(axis=1)


SERIAL_NOISES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    "independent": white,
    "AR(1), 0.8": autoregressive,
    "random walk": random_walk,
}


def shuffled_positions(rng: np.random.Generator, studies: int, rounds: int, cells: int) -> Array:
    """[studies x rounds x 2 * cells] the position of each configuration in its round, all in random order; 2c and 2c + 1 are cell c."""
    return rng.random((studies, rounds, 2 * cells)).argsort(axis=2).astype(float)


def paired_positions(rng: np.random.Generator, studies: int, rounds: int, cells: int) -> Array:
    """The same in the product's order (tuner.trials.rounds.round_order)."""
    names = {f"cell {cell}": (2 * cell, 2 * cell + 1) for cell in range(cells)}
    seeds = [str(seed) for seed in rng.integers(0, 2**32, studies)]
    return np.array([[np.argsort(round_order(names, seed, number)) for number in range(rounds)] for seed in seeds], dtype=float)


def measured_at(windows: Array, positions: Array, second: float = 0.0) -> Array:
    """[studies x rounds x configurations] of noise [studies x rounds * configurations] in the order of time, at these positions.

    `second` is added to what follows directly on the other arm's window.
    """
    taken = np.take_along_axis(windows.reshape(positions.shape), positions.astype(int), axis=2)
    others = positions.reshape(*positions.shape[:2], -1, 2)[..., ::-1].reshape(positions.shape)
    return np.asarray(taken + second * (positions == others + 1))


def ratios_from_json(document: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Cell -> ratios of two identical settings measured in pairs, as real-engine A/A data, -> cell -> log-ratios."""
    return {cell: [math.log(value) for value in values] for cell, values in document.items()}
