"""What the book of a study's trials keeps at hand is what a look at all of them would find."""

from __future__ import annotations

import pytest

from storage.records import Stage
from tests.tuner.fake_engine import FakeLauncher, crash
from tests.tuner.workbench import Workbench
from tuner.core.contract import WindowResult
from tuner.core.errors import Interrupted
from tuner.setup.space import Configuration, EngineKey
from tuner.trials.trial import TrialBook, TrialRun


def latest(book: TrialBook, configuration: Configuration, stage: Stage) -> TrialRun | None:
    return next((run for run in reversed(book.runs) if run.configuration == configuration and run.trial.stage is stage), None)


def next_round(book: TrialBook, engine: EngineKey) -> int:
    """After all windows of the engine, and not before what is planned."""
    runs = [run for run in book.runs if run.trial.stage is Stage.SEARCH and run.configuration.engine == engine]
    after = [item.round + 1 for run in runs for item in run.measurements]
    return max([0, *after, *(run.first_round for run in runs if not run.finished)])


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_rounds_and_trials_are_found_as_by_looking_at_all(bench: Workbench, monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    """Of a search in which an engine is lost and one configuration always fails, that is interrupted, and that is taken up twice."""
    kept, rounds = TrialBook.next_round, set()

    def checked(book: TrialBook, engine: EngineKey) -> int:
        found = kept(book, engine)
        rounds.add(found)
        assert found == next_round(book, engine)
        for stage in Stage:
            assert all(book.find(run.configuration, stage) is latest(book, run.configuration, stage) for run in book.runs)
        assert (
            len({run.trial.number for run in book.runs}) == len(book.runs) == max((run.trial.number for run in book.runs), default=-1) + 1
        )
        assert [run.trial.number for run in book.runs] == list(range(len(book.runs)))
        return found

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if len(launcher.measured) == 7:
            raise KeyboardInterrupt
        if configuration == Configuration(16, 128, "default"):
            raise crash()
        return result

    monkeypatch.setattr(TrialBook, "next_round", checked)
    launcher = FakeLauncher(on_measure=hook)
    with pytest.raises(Interrupted):
        bench.run(launcher, sampler=sampler, trials=3)
    bench.run(sampler=sampler, trials=3, resume=True)
    bench.run(sampler=sampler, trials=3, resume=True)
    assert len(rounds) > 1, "a page size had several batches"
