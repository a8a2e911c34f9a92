"""Configurations that are the same in effect as one that has a trial (tuner.setup.effective): they get a trial that is marked as its twin
and its result, and are never measured. Only further factors can be said in two ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from storage.records import Stage
from tuner.setup.effective import effective_key
from tuner.setup.space import Configuration
from tuner.setup.study_setup import StudySetup
from tuner.trials.trial import TrialBook, TrialRun
from tuner.verdict.evidence import TWIN_OF


class Twins:
    """Of the search stage; also of a study that is taken up again."""

    def __init__(self, setup: StudySetup, book: TrialBook) -> None:
        self._setup = setup
        self._book = book
        self._possible = bool(setup.space.factors)
        self._first: dict[str, TrialRun] = {}
        self._waiting: list[TrialRun] = []
        self.see(book.staged(Stage.SEARCH))

    def see(self, runs: Iterable[TrialRun]) -> None:
        """Trials that were made elsewhere."""
        for run in runs if self._possible else ():
            if TWIN_OF not in run.trial.notes:
                self._first.setdefault(self._key(run.configuration), run)
            elif not run.finished:
                self._waiting.append(run)

    def runs(self, configurations: Iterable[Configuration], create: Callable[[Configuration, int | None], TrialRun]) -> list[TrialRun]:
        """The trials of those that have to be measured. `create` makes a trial; it gets the number of the one whose twin it is, None for
        one of its own."""
        found = []
        for configuration in configurations:
            run = self._book.find(configuration)
            if run is None:
                first = self._first.get(self._key(configuration)) if self._possible else None
                run = create(configuration, None if first is None else first.trial.number)
                if first is not None:
                    self._waiting.append(run)
                elif self._possible:
                    self._first[self._key(configuration)] = run
            if TWIN_OF not in run.trial.notes:
                found.append(run)
        return found

    def among(self, configurations: Sequence[Configuration]) -> bool:
        """Whether one of them, none of which has a trial, is the same in effect as another or as one that has."""
        keys = [self._key(item) for item in configurations] if self._possible else []
        return len(set(keys)) < len(keys) or any(key in self._first for key in keys)

    def settle(self) -> None:
        """Give each twin the result of the other, where that is finished."""
        left = []
        for run in self._waiting:
            first = self._first.get(self._key(run.configuration))
            if first is not None and first.finished:
                self._book.finish_twin(run, first)
            else:
                left.append(run)
        self._waiting = left

    def _key(self, configuration: Configuration) -> str:
        return effective_key(self._setup.effective(configuration))
