"""Which candidate to measure next, from what is known. A pure function of its arguments: the same history, the same choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tuner.sampler.acquisition import log_expected_improvement
from tuner.sampler.grid import Array, CandidateGrid, Indices, Mask
from tuner.sampler.kernel import fit
from tuner.sampler.posterior import Posterior
from tuner.sampler.scores import normal_scores

_REFIT = 1.15  # hyperparameters are learned anew whenever there are so many times more results
_DOUBT = 5  # own results after which earlier studies that contradict them are no longer listened to
_FIT_LIMIT = 200  # from at most so many of them, drawn at random: the cost grows with the cube
_KEPT = 1000  # own results that a posterior is made from at most, so that a choice stays as cheap as it is: the best half, others at random


@dataclass(frozen=True)
class Results:
    """`candidates` [n] of one study in the order of its trials, `values` [n] (higher is better), `violations` [n] (0: none).

    A failed trial has the violation infinity and any value: it ranks below everything, so that the search leaves its neighbourhood.
    """

    candidates: Indices
    values: Array
    violations: Array

    def scores(self) -> Array:
        return normal_scores(self.values, self.violations) if len(self.values) else np.zeros(0)

    def first(self, count: int) -> Results:
        return self.taken(np.arange(count))

    def taken(self, places: Indices) -> Results:
        return Results(self.candidates[places], self.values[places], self.violations[places])


@dataclass(frozen=True)
class History:
    """`pending`: candidates that are being measured. `earlier`: results of earlier studies, scored each within its own study."""

    own: Results
    pending: Indices
    earlier: tuple[Results, ...] = ()


@dataclass
class GridSearch:
    """`startup`: random measurements before anything is learned, at least 2; earlier studies' results count towards it."""

    grid: CandidateGrid
    seed: int
    startup: int
    _posterior: Posterior | None = field(default=None, init=False)
    _fitted_on: int = field(default=0, init=False)
    _used: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.intp), init=False)  # places among the first _fitted_on results

    def choose(self, history: History, open_to: Mask, rng: np.random.Generator, log_cost: Callable[[], Array] | None = None) -> int:
        """One of `open_to` [candidates], of which at least one must be true. `log_cost` [candidates]: log seconds of a measurement."""
        known = len(history.own.candidates) + sum(len(results.candidates) for results in history.earlier)
        if known + len(history.pending) < self.startup or known < 2:
            return int(rng.choice(np.flatnonzero(open_to)))
        posterior = self._updated(history)
        own = history.own
        used = self._places(own)
        count = len(posterior.observed) - len(used)
        scores = [results.scores() for results in (history.earlier if count else ())]
        belief = posterior.belief(np.concatenate([*scores, own.scores()[used]]), history.pending)
        incumbents = own.candidates if len(own.candidates) else posterior.observed
        gain = log_expected_improvement(belief, float(belief.mean[incumbents].max()))
        if log_cost is not None:
            gain = gain - log_cost()
        options = np.flatnonzero(open_to)
        top = options[gain[options] >= gain[options].max() - 1e-9]
        return int(rng.choice(top))

    def _updated(self, history: History) -> Posterior:
        """The posterior of what is known. When to learn anew depends on the number of results, so that a resumed search goes on alike."""
        own = history.own
        fit_on = _last_step(len(own.candidates), self.startup)
        earlier_studies = self._believed(history, fit_on)
        earlier = np.concatenate([results.candidates for results in earlier_studies] + [np.zeros(0, dtype=np.intp)])
        if self._fitted_on != fit_on:
            self._posterior, self._used, self._fitted_on = None, self._worth_keeping(own.first(fit_on)), fit_on
        observed = np.concatenate([earlier, own.candidates[self._places(own)]])
        kept = self._posterior
        if kept is None or not np.array_equal(kept.observed, observed[: len(kept.observed)]):
            self._used = self._worth_keeping(own.first(fit_on))
            observed = np.concatenate([earlier, own.candidates[self._places(own)]])
            kept = self._posterior = self._fitted(own.taken(self._used), earlier_studies)
        for candidate in observed[len(kept.observed) :]:
            kept.observe(int(candidate))
        return kept

    def _places(self, own: Results) -> Indices:
        """Of the own results that the posterior rests on: what was kept when it was made, and all since."""
        return np.concatenate([self._used, np.arange(self._fitted_on, len(own.candidates))])

    def _worth_keeping(self, own: Results) -> Indices:
        """Places of all, or where they are more than `_KEPT` of the best half of so many and of others drawn at random, in their order."""
        count = len(own.candidates)
        if count <= _KEPT:
            return np.arange(count)
        ranked = np.argsort(-own.scores(), kind="stable")
        best, others = ranked[: _KEPT // 2], ranked[_KEPT // 2 :]
        drawn = np.random.default_rng([self.seed, count]).choice(others, _KEPT - len(best), replace=False)
        return np.sort(np.concatenate([best, drawn]))

    def _believed(self, history: History, fit_on: int) -> tuple[Results, ...]:
        """The earlier studies, none of them where what they promise together is not at all what was measured here (rank correlation)."""
        own = history.own.first(fit_on)
        if not history.earlier or len(own.candidates) < _DOUBT:
            return history.earlier
        promised = self._fitted(own.first(0), history.earlier).belief(
            np.concatenate([results.scores() for results in history.earlier]), np.zeros(0, dtype=np.intp)
        )
        found, expected = own.scores(), normal_scores(promised.mean[own.candidates])
        return history.earlier if float(found @ expected) > 0 else ()

    def _fitted(self, own: Results, earlier: tuple[Results, ...]) -> Posterior:
        parts = [*earlier, own]
        observed = np.concatenate([results.candidates for results in parts])
        scores = np.concatenate([results.scores() for results in parts])
        marks = np.ones(len(observed))
        marks[len(observed) - len(own.candidates) :] = 0.0
        chosen = np.arange(len(observed))
        if len(chosen) > _FIT_LIMIT:
            chosen = np.sort(np.random.default_rng([self.seed, len(chosen)]).choice(chosen, _FIT_LIMIT, replace=False))
        hyper = fit(self.grid.axes, self.grid.levels[observed[chosen]], scores[chosen], marks[chosen])
        return Posterior(self.grid, hyper, observed, marks)


def _last_step(count: int, startup: int) -> int:
    """The greatest number up to `count` in the series startup, startup x 1.15, ... at which hyperparameters are learned; above `_KEPT` the
    distance stays."""
    step = min(count, max(startup, 2))
    most = round(_KEPT * (_REFIT - 1))
    while (following := max(step + 1, min(int(step * _REFIT), step + most))) <= count:
        step = following
    return step
