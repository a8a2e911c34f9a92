"""The trials of a study that several workers work on, as one of them knows them: what others did comes in when it looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import override

from storage.records import Stage, Study
from tuner.core.contract import EngineSettings
from tuner.setup.space import Configuration, EngineKey
from tuner.trials.context import RunContext
from tuner.trials.optuna_record import OptunaRecord
from tuner.trials.trial import TrialBook, TrialRun


class SharedBook(TrialBook):
    """Numbers of its trials are the database's, and rounds of unfinished trials are left free: two batches of one engine that are measured
    at once have no round in common."""

    def __init__(self, context: RunContext, study: Study, record: OptunaRecord) -> None:
        super().__init__(context, study, record)
        self._most_rounds = context.setup.config.rounds.max
        self._complete_up_to = len(self.runs)  # numbers below are all known

    def refresh(self) -> list[TrialRun]:
        """Look what others began and finished; what is new."""
        known, new = {run.trial.id for run in self.runs}, []
        unfinished = {run.trial.id: run for run in self.runs if not run.finished}
        for trial in self._storage.list_trials(self._study.id, offset=self._complete_up_to):
            self._complete_up_to = trial.number + 1
            if trial.id not in known:
                run = TrialRun(trial, Configuration.of_trial(trial))
                self._keep(run)
                new.append(run)
                unfinished[trial.id] = run
        for trial in self._storage.get_trials(list(unfinished)):
            unfinished[trial.id].trial = trial
        ended = [run for run in unfinished.values() if run.finished]
        self.reload(ended)
        for run in ended:
            if run.trial.stage is Stage.SEARCH and self.listener is not None:
                self.listener(run.configuration, *self.result_of(run))
        return new

    def reload(self, runs: Sequence[TrialRun]) -> None:
        """Their measurements anew: others may have added some."""
        by_id = {run.trial.id: run for run in runs}
        for run in runs:
            run.measurements.clear()
        for measurement in self._storage.measurements_of(list(by_id)):
            self._keep_window(by_id[measurement.trial_id], measurement)

    def store_what_was_kept(self) -> None:
        """Waits for the database; what was measured under a claim has to be stored before it is given back."""
        self._store_what_was_kept(self._storage)

    @override
    def next_round(self, engine: EngineKey) -> int:
        reserved = [run.first_round + self._most_rounds for run in self.unfinished() if run.configuration.engine == engine]
        return max([super().next_round(engine), *reserved])

    def create_all(
        self, configurations: Sequence[Configuration], engine_of: Callable[[Configuration], EngineSettings], first_round: int
    ) -> list[TrialRun]:
        """Search trials of one batch, all or none."""
        made = [self._made(item, engine_of(item), Stage.SEARCH, first_round) for item in configurations]
        runs = [TrialRun(trial, item) for trial, item in zip(self._storage.create_trials(made), configurations, strict=True)]
        for run in runs:
            self._keep(run)
        return runs

    @override
    def create(
        self, configuration: Configuration, engine: EngineSettings, stage: Stage, first_round: int, *, twin_of: int | None = None
    ) -> TrialRun:
        (trial,) = self._storage.create_trials([self._made(configuration, engine, stage, first_round, twin_of)])
        run = TrialRun(trial, configuration)
        self._keep(run)
        return run
