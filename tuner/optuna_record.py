"""The study as Optuna sees it, in the same database as ours, so that `optuna-dashboard URL` just works.

Optuna keeps the record here and proposes nothing: which configuration comes next is decided before (tuner.proposer), then asked for.
A trial gets its value from us in one place, `tell`, with the number that storage has.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, override

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from storage.base import StorageUnavailable
from storage.url import optuna_storage_arguments, parse_url
from tuner.metric_catalog import Direction
from tuner.space import Configuration

LEASE_ATTRIBUTE = "tuner_lease"
GOAL_ATTRIBUTE = "tuner_goal"


class _GivenSampler(BaseSampler):
    """Answers with what it was given: one call creates the trial with its parameters, without a queue that a crash could leave behind."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    @override
    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    @override
    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return {}

    @override
    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> int | str:
        value: int | str = self.given[param_name]
        return value


class OptunaRecord:
    """One Optuna study. Raises StorageUnavailable where its tables cannot be made or read."""

    def __init__(self, url: str, name: str, directions: Sequence[Direction], distributions: Mapping[str, BaseDistribution]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = dict(distributions)
        self._sampler = _GivenSampler()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._storage = RDBStorage(**optuna_storage_arguments(url))
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name=name,
                    directions=[StudyDirection[item.name] for item in directions],
                    sampler=self._sampler,
                    load_if_exists=True,
                )
        except (optuna.exceptions.StorageInternalError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise StorageUnavailable(f"Optuna cannot use {parse_url(url).safe}: {reason}") from error

    def begin(self, configuration: Configuration) -> int:
        """Create a RUNNING trial with these parameters; returns its id."""
        self._sampler.given = dict(configuration.params)
        trial = self._study.ask(self._distributions)
        return trial._trial_id

    def complete(self, trial_id: int, values: Sequence[float], constraints: Mapping[str, float]) -> None:
        """Finish a trial with its values; telling it twice changes nothing. Constraints are feasible at 0 and below."""
        if self._finished(trial_id):
            return
        trial = optuna.trial.Trial(self._study, trial_id)
        for name, value in constraints.items():
            trial.set_constraint(name, value)
        self._study.tell(trial, list(values), state=TrialState.COMPLETE)

    def fail(self, trial_id: int) -> None:
        """Finish a trial without a value."""
        if not self._finished(trial_id):
            self._study.tell(optuna.trial.Trial(self._study, trial_id), state=TrialState.FAIL)

    def running(self) -> dict[int, Configuration | None]:
        """Unfinished trials by id; None where a crash left a trial without its parameters."""
        found: dict[int, Configuration | None] = {}
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
            try:
                found[trial._trial_id] = Configuration.from_params(trial.params)
            except KeyError:
                found[trial._trial_id] = None
        return found

    def attribute(self, name: str) -> Any:
        """A study attribute, None where it was never set. Not cached: other processes write them too."""
        return self._storage.get_study_user_attrs(self._study._study_id).get(name)

    def set_attribute(self, name: str, value: Any) -> None:
        self._storage.set_study_user_attr(self._study._study_id, name, value)

    def close(self) -> None:
        """Idempotent."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _finished(self, trial_id: int) -> bool:
        return self._storage.get_trial(trial_id).state.is_finished()
