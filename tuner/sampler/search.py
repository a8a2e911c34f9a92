"""What is known about configurations, and how much measuring one more promises. The same history, the same answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tuner.sampler.acquisition import log_expected_improvement
from tuner.sampler.grid import Array, Axis, Indices
from tuner.sampler.kernel import Hyperparameters, fit
from tuner.sampler.posterior import Explained, Posterior, View
from tuner.sampler.scores import normal_scores, search_scores

_REFIT = 1.15  # hyperparameters are learned anew whenever there are so many times more results
_DOUBT = 5  # own results after which earlier studies that contradict them are no longer listened to
_FIT_LIMIT = 150  # from at most so many of them, drawn at random: the cost grows with the cube
_KEPT = 400  # own results that a posterior is made from at most, so that a choice stays as cheap as it is: the best half, others at random


@dataclass(frozen=True)
class Results:
    """`levels` [n x axes] of one study in the order of its trials, `values` [n] (higher is better), `violations` [n] (0: none).

    A failed trial has the violation infinity and any value: it ranks below everything, so that the search leaves its neighbourhood.
    `own_unit`: not measured but predicted, in the unit of this study's own results, which are scored together with it.
    """

    levels: Indices
    values: Array
    violations: Array
    own_unit: bool = False

    def __len__(self) -> int:
        return len(self.levels)

    def scores(self) -> Array:
        return search_scores(self.values, self.violations) if len(self.values) else np.zeros(0)

    def first(self, count: int) -> Results:
        return self.taken(np.arange(count))

    def taken(self, places: Indices) -> Results:
        return Results(self.levels[places], self.values[places], self.violations[places], self.own_unit)


@dataclass(frozen=True)
class History:
    """`pending` [p x axes]: what is being measured. `earlier`: results of earlier studies, scored each within its own study."""

    own: Results
    pending: Indices
    earlier: tuple[Results, ...] = ()


@dataclass
class Model:
    """`startup`: measurements before anything is learned, at least 2; earlier studies' results count towards it."""

    axes: Sequence[Axis]
    seed: int
    startup: int
    _posterior: Posterior | None = field(default=None, init=False)
    _fitted_on: int = field(default=0, init=False)
    _used: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.intp), init=False)  # places among the first _fitted_on results
    _view: View | None = field(default=None, init=False)

    def can_learn(self, history: History) -> bool:
        known = len(history.own) + sum(len(results) for results in history.earlier)
        return known + len(history.pending) >= self.startup and known >= 2

    def promise(self, history: History) -> Promise:
        """What can be said after this history. Where `can_learn` is false there is nothing to say."""
        posterior = self._updated(history)
        own = history.own
        used = self._places(own)
        count = len(posterior) - len(used)
        earlier, scores = _scored(history.earlier if count else (), own)
        explained = posterior.explain(np.concatenate([earlier, scores[used]]))
        incumbents = explained.expected[count:] if len(own) else explained.expected
        return Promise(posterior, explained, history.pending, float(incumbents.max()))

    def promise_of(self, history: History, levels: Indices) -> Array:
        """[candidates]: log expected improvement. `levels` [candidates x axes] are the same array at every call: that is remembered."""
        promise = self.promise(history)
        if self._view is None or self._view.posterior is not promise.posterior or self._view.levels is not levels:
            self._view = View(promise.posterior, levels)
        return promise.seen(self._view)

    def _updated(self, history: History) -> Posterior:
        """The posterior of what is known. When to learn anew depends on the number of results, so that a resumed search goes on alike."""
        own = history.own
        fit_on = _last_step(len(own), self.startup)
        earlier_studies = self._believed(history, fit_on)
        earlier = np.concatenate([results.levels for results in earlier_studies] + [own.levels[:0]])
        if self._fitted_on != fit_on:
            self._posterior, self._used, self._fitted_on = None, self._worth_keeping(own.first(fit_on)), fit_on
        observed = np.concatenate([earlier, own.levels[self._places(own)]])
        kept = self._posterior
        if kept is None or not np.array_equal(kept.observed, observed[: len(kept)]):
            self._used = self._worth_keeping(own.first(fit_on))
            observed = np.concatenate([earlier, own.levels[self._places(own)]])
            kept = self._posterior = self._fitted(own.taken(self._used), earlier_studies)
        for row in observed[len(kept) :]:
            kept.observe(row)
        return kept

    def _places(self, own: Results) -> Indices:
        """Of the own results that the posterior rests on: what was kept when it was made, and all since."""
        return np.concatenate([self._used, np.arange(self._fitted_on, len(own))])

    def _worth_keeping(self, own: Results) -> Indices:
        """Places of all, or where they are more than `_KEPT` of the best half of so many and of others drawn at random, in their order."""
        count = len(own)
        if count <= _KEPT:
            return np.arange(count)
        ranked = np.argsort(-own.scores(), kind="stable")
        best, others = ranked[: _KEPT // 2], ranked[_KEPT // 2 :]
        drawn = np.random.default_rng([self.seed, count]).choice(others, _KEPT - len(best), replace=False)
        return np.sort(np.concatenate([best, drawn]))

    def _believed(self, history: History, fit_on: int) -> tuple[Results, ...]:
        """The earlier studies, none of them where what they promise together is not at all what was measured here (rank correlation)."""
        own = history.own.first(fit_on)
        if not history.earlier or len(own) < _DOUBT:
            return history.earlier
        posterior = self._fitted(own.first(0), history.earlier)
        explained = posterior.explain(_scored(history.earlier, own.first(0))[0])
        promised = View(posterior, own.levels).belief(explained, own.levels[:0])
        return history.earlier if float(own.scores() @ normal_scores(promised.mean)) > 0 else ()

    def _fitted(self, own: Results, earlier: tuple[Results, ...]) -> Posterior:
        parts = [*earlier, own]
        observed = np.concatenate([results.levels for results in parts])
        scores = np.concatenate(_scored(earlier, own))
        marks = np.ones(len(observed))
        marks[len(observed) - len(own) :] = 0.0
        return Posterior(self.axes, self._learned(observed, scores, marks), observed, marks)

    def _learned(self, observed: Indices, scores: Array, marks: Array) -> Hyperparameters:
        chosen = np.arange(len(observed))
        if len(chosen) > _FIT_LIMIT:
            chosen = np.sort(np.random.default_rng([self.seed, len(chosen)]).choice(chosen, _FIT_LIMIT, replace=False))
        return fit(self.axes, observed[chosen], scores[chosen], marks[chosen])


@dataclass(frozen=True)
class Promise:
    """`best`: the greatest expected score of what was measured."""

    posterior: Posterior
    explained: Explained
    pending: Indices
    best: float

    def seen(self, view: View) -> Array:
        """[candidates]: log expected improvement."""
        return log_expected_improvement(view.belief(self.explained, self.pending), self.best)

    def of(self, levels: Indices) -> Array:
        """[candidates], for `levels` [candidates x axes]."""
        return self.seen(View(self.posterior, levels))


def _scored(earlier: Sequence[Results], own: Results) -> tuple[Array, Array]:
    """Scores of all earlier results, one after the other, and of the own ones. Each study is ranked within itself; what was predicted
    stands on one scale with what was measured, so that the first few measurements do not look like the best and the worst there are."""
    scores, own_scores = [np.zeros(0)], own.scores()
    for results in earlier:
        if not (results.own_unit and len(own)):
            scores.append(results.scores())
            continue
        values = np.concatenate([results.values * _level(own, results), own.values])
        together = search_scores(values, np.concatenate([results.violations, own.violations]))
        scores.append(together[: len(results)])
        own_scores = together[len(results) :]
    return np.concatenate(scores), own_scores


def _level(own: Results, predicted: Results) -> float:
    """How many times higher what was measured is than what was predicted for it: the median, 1 where nothing can be compared."""
    place = {tuple(row): index for index, row in enumerate(predicted.levels.tolist()) if predicted.violations[index] <= 0}
    pairs = [
        (value, predicted.values[place[row]])
        for row, value, broken in zip(map(tuple, own.levels.tolist()), own.values.tolist(), own.violations.tolist(), strict=True)
        if broken <= 0 and row in place
    ]
    ratios = [measured / expected for measured, expected in pairs if measured * expected > 0]
    return float(np.median(ratios)) if ratios else 1.0


def _last_step(count: int, startup: int) -> int:
    """The greatest number up to `count` in the series startup, startup x 1.15, ... at which hyperparameters are learned; above `_KEPT` the
    distance stays."""
    step = min(count, max(startup, 2))
    most = round(_KEPT * (_REFIT - 1))
    while (following := max(step + 1, min(int(step * _REFIT), step + most))) <= count:
        step = following
    return step
