"""Racing: after each round drop the settings that cannot be among the best any more, and spend the rounds on the rest. Pure.

A setting is dropped when the interval of its ratio to the leader, paired by round, lies wholly outside the tie band: it is worse by more
than `tie_band` (2 %) with confidence. The leader is whoever looks best, so the best setting could be dropped by any of the others; the
level is therefore divided by their number, which keeps the chance that the true best (or a setting tied with it) is ever dropped at
`level`, over all rounds (InterimPlan).

Noise: after three rounds a setting's own noise is barely known, so it is blended with that of all settings, as if the pooled estimate
were worth _PRIOR_DF rounds more (the moderation of Smyth 2004, "Linear models and empirical Bayes methods", with a fixed prior). Wrong
drops with equal, unequal and heavy-tailed noise are printed by bench/null_and_power.py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.metrics.catalog import Direction
from tuner.stats.intervals import ERROR_RATE, paired_log_ratios
from tuner.stats.samples import sample_of
from tuner.stats.sequential import InterimPlan
from tuner.stats.student import two_sided_critical

TIE_BAND = 0.02
ENGINE_BAND = 0.03  # how far the same configuration may differ between two engines (bench/live_vs_cold.py), which no interval knows
_PRIOR_DF = 4

Series = Mapping[int, float]  # round -> positive value of the objective's metric


@dataclass(frozen=True)
class Drop:
    """Why a setting was dropped: its value is `ratio` of the leader's, at best `optimistic_ratio`. Above 1 means better than the leader,
    whatever the metric's direction."""

    leader: str
    pairs: int
    ratio: float
    optimistic_ratio: float
    level: float


@dataclass(frozen=True)
class Race:
    """`leader` is None before any setting has a value. `active` keeps the order that was given."""

    leader: str | None
    active: tuple[str, ...]
    dropped: dict[str, Drop]


def race(
    values: Mapping[str, Series],
    direction: Direction,
    *,
    active: Collection[str] | None = None,
    keep: Collection[str] = (),
    may_lead: Collection[str] | None = None,
    plan: InterimPlan | None = None,
    level: float = ERROR_RATE,
    tie_band: float = TIE_BAND,
) -> Race:
    """One decision after one round. `values` holds every setting that ever ran (their number sets the level), `active` those still in.

    `keep` are never dropped (the baseline, which every round needs); only `may_lead` (None: all) can drop others: what breaks an SLO is no
    rival. Only valid measurements may be given. The plan is the default
    InterimPlan unless given. With fewer pairs than the plan's first analysis a setting stays.
    """
    plan = plan or InterimPlan()
    running = [name for name in values if active is None or name in active]
    leader = _leader({name: values[name] for name in running if may_lead is None or name in may_lead}, direction)
    dropped: dict[str, Drop] = {}
    if leader is not None and len(running) > 1:
        pooled = _pooled_variance([values[name] for name in running])
        contest = _Contest(
            leader=leader,
            leader_values=values[leader],
            direction=direction,
            plan=plan,
            level=level / max(1, len(values) - 1),
            tie_band=tie_band,
            pooled_variance=pooled[0],
            pooled_df=pooled[1],
        )
        for name in running:
            if name != leader and name not in keep:
                drop = contest.drop(values[name])
                if drop is not None:
                    dropped[name] = drop
    return Race(leader, tuple(name for name in running if name not in dropped), dropped)


def cannot_win(
    incumbent: Sequence[float],
    candidate: Sequence[float],
    direction: Direction,
    *,
    rivals: int,
    plan: InterimPlan,
    level: float = ERROR_RATE,
) -> bool:
    """Whether `candidate` is worse by more than the tie band than the best of another engine, whatever the noise and the engines.

    Values of windows (positive) that share no rounds: Welch's interval on the logs, with the larger of the candidate's own variance and
    the pooled one, at the level of this interim analysis divided by `rivals`, the number of configurations that could be compared so in a
    study. Beyond the tie band ENGINE_BAND is allowed for the difference between two engines. False with fewer windows than the first
    analysis needs, or one rival.
    """
    ours, theirs = (direction.sign * np.log(np.asarray(values, dtype=float)) for values in (candidate, incumbent))
    if len(ours) < plan.first or len(theirs) < 2:
        return False
    own, other = float(ours.var(ddof=1)), float(theirs.var(ddof=1))
    df = len(ours) + len(theirs) - 2
    pooled = ((len(ours) - 1) * own + (len(theirs) - 1) * other) / df
    error = math.sqrt(max(own, pooled) / len(ours) + max(other, pooled) / len(theirs))
    half = two_sided_critical(plan.level_at(len(ours), level / max(1, rivals)), df) * error
    return float(ours.mean() - theirs.mean()) + half < math.log(1 - TIE_BAND) + math.log(1 - ENGINE_BAND)


def _leader(values: Mapping[str, Series], direction: Direction) -> str | None:
    """Best mean log over the rounds that all share; where none is shared, over each one's own. Equal means: the first name in order."""
    series = {name: {n: v for n, v in rounds.items() if math.isfinite(v) and v > 0} for name, rounds in values.items()}
    series = {name: rounds for name, rounds in series.items() if rounds}
    if not series:
        return None
    shared = set.intersection(*(set(rounds) for rounds in series.values()))
    score = {
        name: direction.sign * math.fsum(math.log(rounds[n]) for n in (shared or rounds)) / len(shared or rounds)
        for name, rounds in series.items()
    }
    return min(score, key=lambda name: (-score[name], name))


def _pooled_variance(values: Sequence[Series]) -> tuple[float, int]:
    """(variance of one window's log after setting and round effects are taken out, degrees of freedom), over the shared rounds."""
    shared = sorted(set.intersection(*(set(rounds) for rounds in values)))
    df = (len(values) - 1) * (len(shared) - 1)
    if df < 1 or any(rounds[n] <= 0 for rounds in values for n in shared):
        return 0.0, 0
    logs = np.log([[rounds[n] for n in shared] for rounds in values])
    residual = logs - logs.mean(axis=0, keepdims=True) - logs.mean(axis=1, keepdims=True) + logs.mean()
    return float(np.sum(residual**2)) / df, df


@dataclass(frozen=True)
class _Contest:
    """What each setting is compared with: the leader, and the noise of all settings. `level`: 1 - confidence of one setting over all its
    analyses."""

    leader: str
    leader_values: Series
    direction: Direction
    plan: InterimPlan
    level: float
    tie_band: float
    pooled_variance: float
    pooled_df: int

    def drop(self, candidate: Series) -> Drop | None:
        """Why the candidate is out, or None where it may still be among the best."""
        oriented = [self.direction.sign * value for value in paired_log_ratios(self.leader_values, candidate).values()]
        if len(oriented) < self.plan.first:
            return None
        sample = sample_of(oriented)
        prior, own_df = min(_PRIOR_DF, self.pooled_df), sample.pairs - 1
        moderated = (prior * 2 * self.pooled_variance + own_df * sample.sd**2) / (prior + own_df)
        own_level = self.plan.level_at(sample.pairs, self.level)
        best_case = sample.mean + two_sided_critical(own_level, prior + own_df) * math.sqrt(moderated / sample.pairs)
        if best_case >= math.log(1 - self.tie_band):
            return None
        return Drop(self.leader, sample.pairs, math.exp(sample.mean), math.exp(best_case), own_level)
