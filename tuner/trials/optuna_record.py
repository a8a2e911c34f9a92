"""The study as Optuna sees it, in the same database as ours, so that `optuna-dashboard URL` just works.

Optuna keeps the record here and proposes nothing: which configuration comes next is decided before (tuner.search.proposer), then asked for.
A trial gets its value from us in one place, `complete`, with the number that storage has.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from storage.base import StorageUnavailable
from storage.upgrade import making_tables
from storage.url import optuna_storage_arguments, parse_url
from tuner.metrics.catalog import Direction

LEASE_ATTRIBUTE = "tuner_lease"
GOAL_ATTRIBUTE = "tuner_goal"
SAMPLER_ATTRIBUTE = "tuner_sampler"
WARM_START_ATTRIBUTE = "tuner_warm_start"
PRIOR_ATTRIBUTE = "tuner_prior"
_TABLE = "studies"  # of Optuna's


def delete_record(url: str, name: str) -> None:
    """Delete Optuna's study of this name, where it keeps one; makes no tables. Raises StorageUnavailable."""
    arguments = optuna_storage_arguments(url)
    with _translated(parse_url(url).safe):
        engine = create_engine(arguments["url"], **arguments["engine_kwargs"])
        there = inspect(engine).has_table(_TABLE)
        engine.dispose()
        if not there:
            return
        storage = RDBStorage(**arguments)
        try:
            with suppress(KeyError):  # it keeps none of this name
                storage.delete_study(storage.get_study_id_from_name(name))
        finally:
            storage.remove_session()
            storage.engine.dispose()


class OptunaRecord:
    """One Optuna study. Raises StorageUnavailable where its tables cannot be made or read."""

    def __init__(self, url: str, name: str, directions: Sequence[Direction], distributions: Mapping[str, BaseDistribution]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = dict(distributions)
        self._safe_url = parse_url(url).safe
        self.lock: Callable[[], AbstractContextManager[None]] = nullcontext
        with self._translated(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with making_tables(url):  # Optuna looks and makes in two steps: of processes that do so at once, all but one would fail
                self._storage = RDBStorage(**optuna_storage_arguments(url))
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=[StudyDirection[item.name] for item in directions],
                load_if_exists=True,
            )

    def begin(self, params: Mapping[str, Any]) -> int:
        """Create a RUNNING trial with these parameters, in one transaction; returns its id."""
        trial = optuna.trial.create_trial(state=TrialState.RUNNING, params=dict(params), distributions=self._distributions)
        with self._translated():
            return self._storage.create_new_trial(self._study._study_id, trial)

    def complete(self, trial_id: int, values: Sequence[float], constraints: Mapping[str, float]) -> None:
        """Finish a trial with its values; telling it twice changes nothing. Constraints are feasible at 0 and below."""
        with self._translated():
            if constraints:
                trial = optuna.trial.Trial(self._study, trial_id)
                if not trial.constraints:
                    for name, value in constraints.items():
                        trial.set_constraint(name, value)
        self._finish(trial_id, TrialState.COMPLETE, list(values))

    def fail(self, trial_id: int) -> None:
        """Finish a trial without a value."""
        self._finish(trial_id, TrialState.FAIL)

    def prune(self, trial_id: int) -> None:
        """Finish a trial that was skipped or given up, without a value."""
        self._finish(trial_id, TrialState.PRUNED)

    def _finish(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Not by `Study.tell`, which reads the trial with all its choices twice before and asks a sampler that proposes nothing here."""
        with self._translated(), suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(trial_id, state, values)

    def running(self) -> list[int]:
        """The ids of unfinished trials."""
        with self._translated():
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
        return [trial._trial_id for trial in trials]

    def attribute(self, name: str) -> Any:
        """A study attribute, None where it was never set. Not cached: other processes write them too."""
        with self._translated():
            return self._storage.get_study_user_attrs(self._study._study_id).get(name)

    def set_attribute(self, name: str, value: Any) -> None:
        with self._translated():
            self._storage.set_study_user_attr(self._study._study_id, name, value)

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else sets an attribute meanwhile: `lock` is set where several processes do."""
        return self.lock()

    def close(self) -> None:
        """Idempotent."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _translated(self) -> AbstractContextManager[None]:
        return _translated(self._safe_url)


@contextmanager
def _translated(safe_url: str) -> Iterator[None]:
    """Optuna's and SQLAlchemy's own errors become ours, in one line."""
    try:
        yield
    except KeyError as error:  # what it had is not there any more
        raise StorageUnavailable(f"Optuna cannot use {safe_url}: its record of this study is gone: was a backup restored?") from error
    except (StorageInternalError, SQLAlchemyError, RuntimeError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        raise StorageUnavailable(f"Optuna cannot use {safe_url}: {reason}") from error
