"""Runs studies on a fake engine and looks at what was stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from storage.base import Storage
from storage.records import Measurement, Stage, Trial, TrialState
from storage.upgrade import open_storage
from storage.url import optuna_storage_arguments
from tests.tuner.fake_engine import FakeLauncher
from tuner.core.contract import Launcher
from tuner.search.plan import plan_search
from tuner.search.prior import SimulatedPrior
from tuner.search.study import StudyOutcome, StudyRun
from tuner.setup.config import StudyConfig
from tuner.setup.config_file import load_config
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study
from tuner.trials.context import Retries
from tuner.trials.progress import Progress

SMALL: dict[str, Any] = {
    "model": "tiny-qwen3",
    "page_sizes": [16, 32],
    "chunk_budgets": [128, 256],
    "workload": "demo",
    "rounds": 3,
    "profile": "none",  # a quarter of a run's time; tests of profiles ask for them
}


def config_of(study: str = "s", **changes: Any) -> StudyConfig:
    """Two page sizes x two budgets x two arms, three rounds, no profiles."""
    return load_config(None, {**SMALL, "study": study, **changes})


class Workbench:
    """One database, any number of runs."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.storage: Storage = open_storage(url, create=False)
        self.lines: list[str] = []
        self.optuna_storage: BaseStorage | None = None  # None: Optuna's tables in the same database

    def run(
        self,
        launcher: Launcher | None = None,
        *,
        resume: bool = False,
        now: Callable[[], float] | None = None,
        study: str = "s",
        listener: Callable[[Progress, str], None] | None = None,
        prior: SimulatedPrior | None = None,
        retries: Retries | None = None,
        **changes: Any,
    ) -> StudyOutcome:
        setup = prepare_study(config_of(study, logdir=str(self.folder / "profiles"), storage=self.url, **changes))
        progress = Progress(listener=listener or (lambda _progress, line: self.lines.append(line)))
        clock: dict[str, Any] = {"now": now} if now is not None else {}
        plan = plan_search(setup, self.storage, resume=resume)
        return StudyRun(plan, self.storage, launcher or FakeLauncher(), progress, prior=prior, retries=retries, **clock).run()

    def trials(self, stage: Stage | None = Stage.SEARCH, study: str = "s") -> list[Trial]:
        return list(self.storage.list_trials(self.storage.get_study(study).id, stage=stage))

    def trial(self, configuration: Configuration, stage: Stage = Stage.SEARCH) -> Trial:
        """The one trial of this configuration."""
        (found,) = [trial for trial in self.trials(stage) if configuration_of(trial) == configuration]
        return found

    def windows(self, trial: Trial) -> list[Measurement]:
        return list(self.storage.list_measurements(trial_id=trial.id))

    def optuna_trials(self, study: str = "s") -> Sequence[optuna.trial.FrozenTrial]:
        """As anybody sees them who opens the database with Optuna."""
        storage = self.optuna_storage or optuna.storages.RDBStorage(**optuna_storage_arguments(self.url))
        return optuna.load_study(study_name=study, storage=storage).get_trials()

    def close(self) -> None:
        self.storage.close()


@dataclass(frozen=True)
class FinishedStudy:
    """A study "s" that has run, on which engine, and what came of it."""

    bench: Workbench
    launcher: FakeLauncher
    outcome: StudyOutcome


def configuration_of(trial: Trial) -> Configuration:
    return Configuration.of_trial(trial)


def states(trials: Sequence[Trial]) -> list[TrialState]:
    return [trial.state for trial in trials]
