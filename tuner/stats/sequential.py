"""Interim analyses: judging after every round without paying for it in false findings. Pure.

A rule that analyses the data after each round and stops as soon as an interval excludes "no difference" would be wrong far more often
than its confidence says. `InterimPlan` therefore shrinks the level of each single analysis so that the whole sequence of intervals, over
all planned analyses, covers the truth together with the stated confidence. The intervals then stay honest at any stopping time that the
plan contains, whatever made the run stop there (a verdict, the clock, a lost engine, racing).

How: at the analysis after n rounds an interval has the level c * (n / last)^2. The constant c is the quantile of min over analyses of
p(n) * (last / n)^2, where p(n) is the two-sided p-value of the first n of independent normal differences by the very estimate that cells
are judged by (tuner.stats.samples: Student's t, from 12 pairs on Yuen's). It is found by simulation with a fixed seed, so it is exact for
normal differences up to Monte Carlo error and knows the tiny degrees of freedom of early
analyses, which the textbook boundaries (Pocock; O'Brien and Fleming; Lan and DeMets, Biometrika 1983), made for known variance, do not.

Why these weights: an equal level each time (Pocock) stops earliest, weights that favour the end (O'Brien-Fleming) have the most power, and
trust least the first three rounds, in which a run of bad windows can hit one arm alone. Simulated for analyses after each of rounds
3..24, a 3 % effect and 2 % noise per window, power and mean rounds: equal 95.1 % and 11.7; n / last 97.1 % and 12.1; (n / last)^2 98.1 %
and 12.8; (n / last)^3 98.5 % and 13.7. Uncorrected analyses call 26.2 % of A/A cells different, corrected ones 5.2 %
(`python -m bench.null_and_power`). An anytime-valid confidence sequence would allow any number of rounds; here the number is bounded
beforehand, and nothing is spent on rounds that never come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tuner.core.errors import BadInput
from tuner.stats.samples import t_of_rows
from tuner.stats.student import two_sided_p

_SIMULATIONS = 100_000
_MIN_TAIL = 20  # simulated minima below a quantile that is to be believed
_SEED = 19878
_CHUNK = 10_000  # simulations at once, for the sake of memory
_TABLE_POINTS = 20_001


@dataclass(frozen=True)
class InterimPlan:
    """Interim analyses after each round from `first` to `last`. `InterimPlan.single(n)` is one analysis at the end: no correction."""

    first: int = 3
    last: int = 24

    def __post_init__(self) -> None:
        if not 2 <= self.first <= self.last:
            raise BadInput(f"rounds: the first analysis ({self.first}) must be after 2 rounds or more and not after the last ({self.last})")

    @classmethod
    def single(cls, rounds: int) -> InterimPlan:
        """One analysis, after `rounds` rounds. Raises BadInput below 2."""
        return cls(rounds, rounds)

    @classmethod
    def between(cls, first: int, last: int) -> InterimPlan | None:
        """The plan of a study of `first` to `last` rounds: None, no correction, where they are equal: one analysis, at the end."""
        return None if first >= last else cls(first, last)

    def level_at(self, rounds: int, level: float) -> float:
        """The level (1 - confidence) of the interval after `rounds` rounds so that all planned analyses together keep `level`.

        Rounds beyond the plan use the last analysis's level. Raises ValueError before the first analysis: there is no interval yet.
        """
        if rounds < self.first:
            raise ValueError(f"{rounds} rounds are before the first analysis at {self.first}")
        if self.first == self.last:
            return level
        return _constant(self.first, self.last, level) * _weight(min(rounds, self.last), self.last)

    def overall(self, rounds: int, own: float) -> float:
        """The inverse of level_at: the smallest level of all analyses together at which the interval after `rounds` rounds has a level
        above `own`, 1.0 where there is none. Raises ValueError before the first analysis.
        """
        if rounds < self.first:
            raise ValueError(f"{rounds} rounds are before the first analysis at {self.first}")
        if self.first == self.last:
            return own
        constant = own / _weight(min(rounds, self.last), self.last)
        minima = _null_minima(self.first, self.last)
        smaller = int(np.searchsorted(minima, constant, side="right"))
        return min(1.0, constant * _bonferroni(self.first, self.last), max(smaller, _MIN_TAIL) / len(minima))


@lru_cache(maxsize=4096)
def _constant(first: int, last: int, level: float) -> float:
    """c for an overall `level`. Where the simulation runs out of tail, Bonferroni's bound, which always holds, takes over."""
    below = int(level * _SIMULATIONS * (1 + 1e-12))  # k / 100,000 is k simulations, not k - 1 for want of a bit
    simulated = float(_null_minima(first, last)[below]) if below >= _MIN_TAIL else 0.0
    return max(simulated, level / _bonferroni(first, last))


@lru_cache(maxsize=256)
def _bonferroni(first: int, last: int) -> float:
    """What a level is divided by in Bonferroni's bound: the sum of the weights."""
    return sum(_weight(rounds, last) for rounds in range(first, last + 1))


def _weight(rounds: int, last: int) -> float:
    return (rounds / last) ** 2


@lru_cache(maxsize=32)
def _null_minima(first: int, last: int) -> NDArray[np.float64]:
    """[_SIMULATIONS] sorted minima of p(n) * last / n over the analyses, under no difference."""
    rng = np.random.default_rng(_SEED)
    parts = [_minima(rng.standard_normal((_CHUNK, last), dtype=np.float32), first, last) for _ in range(_SIMULATIONS // _CHUNK)]
    return np.sort(np.concatenate(parts))


def _minima(noise: NDArray[np.floating], first: int, last: int) -> NDArray[np.float64]:
    """[N] of `noise` [N x last]."""
    smallest = np.full(len(noise), np.inf)
    for rounds in range(first, last + 1):
        t, df = t_of_rows(noise[:, :rounds])
        np.minimum(smallest, _fast_p(t, df) / _weight(rounds, last), out=smallest)
    return smallest


def _fast_p(t: NDArray[np.float64], df: int) -> NDArray[np.float64]:
    """tuner.stats.student.two_sided_p by interpolation in atan(t / sqrt(df)), within 1 in 10,000 of it: the exact sum grows with df."""
    table, slopes = _p_table(df)
    places = np.arctan(np.abs(t) / math.sqrt(df)) * ((_TABLE_POINTS - 1) / (math.pi / 2))
    below = np.minimum(places.astype(np.int32), _TABLE_POINTS - 2)
    return np.asarray(table[below] + (places - below) * slopes[below], dtype=np.float64)


@lru_cache(maxsize=1024)
def _p_table(df: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(p at angles evenly spaced from 0 to pi / 2, what it changes by from each to the next)."""
    angles = np.linspace(0, math.pi / 2, _TABLE_POINTS)
    table = two_sided_p(math.sqrt(df) * np.tan(angles), df)
    return table, np.append(np.diff(table), 0.0)
