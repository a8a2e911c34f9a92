"""Our sampler for Optuna: Bayesian optimisation over a finite grid that never asks for the same configuration twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, override

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from tuner.core.errors import BadInput
from tuner.sampler.choosing import Question, chooser
from tuner.sampler.grid import Array, CandidateGrid, Indices, Space
from tuner.sampler.scores import pareto_values
from tuner.sampler.search import History, Model, Results
from tuner.sampler.trial_reader import Told, TrialReader

Params = dict[str, Any]
_FIXED = "fixed_params"  # where Optuna's enqueue_trial keeps what it fixes


class OrdinalGpSampler(BaseSampler):
    """A Gaussian process over ranks of levels, expected improvement over every configuration not tried yet.

    Where more than 10,000 can run, over some of them that are made anew for every choice (tuner.sampler.choosing), so that all can be met.

    Several objectives become one number first: how far a result is from the Pareto front (tuner.sampler.scores). Tried is what any trial of
    the study has, whatever became of it. Trials that break constraints rank below all others, failed ones below those, running ones are
    taken to turn out as expected. Of an enqueued trial that fixes some parameters the others are chosen to fit. Once everything was tried,
    a choice is random. All randomness comes from `seed` and the trial's number, all knowledge from the study's trials: a resumed study goes
    on as if it had never stopped. Threads may share a sampler.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        *,
        seed: int = 0,
        contains: Callable[[Params], bool] | None = None,
        configurations: Iterable[Params] | None = None,
        n_startup_trials: int = 2,
        cost_s: Callable[[Params], float] | None = None,
        cost_depends_on: Sequence[str] | None = None,
        earlier: Sequence[Iterable[FrozenTrial]] = (),
        predicted: Iterable[FrozenTrial] = (),
    ) -> None:
        """`contains`: which configurations can run; `configurations` lists them instead, which costs less than to ask for each combination.
        `n_startup_trials`: random ones before anything is learned.

        `cost_s`: what measuring a configuration would cost now, in seconds above 0, for improvement per second (Snoek et al., 2012); it is
        called at every choice, so that it may know which engine runs, with one configuration for each combination of the parameters that
        it looks at (`cost_depends_on`; None: all). `earlier`: trials of earlier studies of the same thing and the same
        direction; each study is ranked within itself, and how much noisier its results are is learned. `predicted`: what a
        model expects of configurations, in the unit of the study's own values. Raises BadInput.
        """
        self._distributions = dict(distributions)
        self._space = Space(self._distributions, contains, configurations)
        if n_startup_trials < 1:
            raise BadInput(f"n_startup_trials is {n_startup_trials}; at least 1 measurement comes before anything can be learned")
        self._seed = seed
        self._model = Model(self._space.axes, seed, n_startup_trials)
        self._chooser = chooser(self._space, self._model, seed)
        self._cost_s = cost_s
        self._cost_depends_on = cost_depends_on
        self._alike: tuple[CandidateGrid, tuple[Indices, Indices]] | None = None
        self._reader = TrialReader(self._space, _FIXED)
        self._earlier = tuple(tuple(trials) for trials in earlier)
        self._predicted = tuple(predicted)
        self._earlier_results: dict[tuple[float, ...], tuple[Results, ...]] = {}  # by the signs of the objectives
        self._independent = RandomSampler(seed=seed)
        self._lock = threading.Lock()

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Ours, known from the start."""
        return self._distributions

    @override
    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        fixed = trial.system_attrs.get(_FIXED, {})
        if all(axis.name in fixed for axis in self._space.axes):
            return {}
        trials = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        signs = np.array([1.0 if direction is StudyDirection.MAXIMIZE else -1.0 for direction in study.directions])
        rng = np.random.default_rng([self._seed, trial.number])
        with self._lock:
            told = self._reader.read(trials, len(signs))
            log_cost = self._log_cost if self._cost_s else None
            row = self._chooser.choose(Question(self._history(told, signs), told.tried, fixed, rng, log_cost))
        return self._space.params(row)

    @override
    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Parameters that are not in our search space: at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _history(self, told: Told, signs: Array) -> History:
        directions = tuple(signs.tolist())
        if directions not in self._earlier_results:  # they never change, and a study has its directions from the start
            found = [_results(self._reader.read_once(study, len(signs)), signs) for study in self._earlier]
            predicted = _results(self._reader.read_once(self._predicted, len(signs)), signs)
            found.append(replace(predicted, own_unit=len(signs) == 1))  # of several objectives: places among each other, without a unit
            self._earlier_results[directions] = tuple(results for results in found if len(results))
        return History(_results(told, signs), told.pending, self._earlier_results[directions])

    def _log_cost(self, grid: CandidateGrid) -> Array:
        assert self._cost_s is not None
        if self._alike is None or self._alike[0] is not grid:
            self._alike = grid, grid.alike(self._cost_depends_on)
        priced, price_of = self._alike[1]
        costs = np.array([self._cost_s(grid.params(candidate)) for candidate in priced])
        if not (costs > 0).all():
            raise BadInput(f"cost_s gave {costs.min():g} s; a measurement costs more than 0 seconds")
        logarithm: Array = np.log(costs)[price_of]
        return logarithm


def _results(told: Told, signs: Array) -> Results:
    return Results(told.levels, pareto_values(signs * told.values, told.violations), told.violations)
