"""`--resume --trials N` finishes exactly N configurations, wherever the run before died.

Each study has a complete run of two trials behind it. Then a run of three dies somewhere; the same command brings its three to their end,
and another N is counted from what was finished.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storage.records import FINISHED, StudyState
from storage.sql.storage import SqlStorage
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, configuration_of, states
from tuner.core.contract import EngineSettings, WindowResult
from tuner.core.errors import BadInput, FailureClass, Interrupted, TrialFailed
from tuner.search.confirm import Confirmation
from tuner.setup.space import Configuration
from tuner.trials.trial import TrialBook

SETTINGS: dict[str, Any] = {"sampler": "random", "rounds": 2}


class Killed(BaseException):
    """As if the process had been killed: nothing of ours catches it."""


def killed(*_arguments: object, **_named: object) -> Any:
    raise Killed


def in_window(nth: int, error: type[BaseException] = Killed) -> FakeLauncher:
    """Dies while it measures its n-th window, from 1."""

    def hook(_configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
        if len(launcher.measured) == nth - 1:
            raise error
        return result

    launcher = FakeLauncher(on_measure=hook)
    return launcher


def before_the_goal(patch: pytest.MonkeyPatch) -> FakeLauncher:
    patch.setattr(TrialBook, "settle_with_optuna", killed)
    return FakeLauncher()


def before_the_first_trial(patch: pytest.MonkeyPatch) -> FakeLauncher:
    patch.setattr(TrialBook, "create", killed)
    return FakeLauncher()


def in_the_engines_start(_patch: pytest.MonkeyPatch) -> FakeLauncher:
    return FakeLauncher(on_open=killed)


def in_a_trials_start(_patch: pytest.MonkeyPatch) -> FakeLauncher:
    return FakeLauncher(on_warm_up=killed)


def after_a_stored_window(patch: pytest.MonkeyPatch) -> FakeLauncher:
    store, stored = SqlStorage.add_measurement, []

    def then_killed(*arguments: Any, **named: Any) -> Any:
        stored.append(store(*arguments, **named))
        if len(stored) == 3:
            raise Killed
        return stored[-1]

    patch.setattr(SqlStorage, "add_measurement", then_killed)
    return FakeLauncher()


def after_one_trial_is_finished(patch: pytest.MonkeyPatch) -> FakeLauncher:
    finish = SqlStorage.finish_trial

    def then_killed(*arguments: Any, **named: Any) -> Any:
        finish(*arguments, **named)
        raise Killed

    patch.setattr(SqlStorage, "finish_trial", then_killed)
    return FakeLauncher()


def before_the_finalists(patch: pytest.MonkeyPatch) -> FakeLauncher:
    patch.setattr(Confirmation, "run", killed)
    return FakeLauncher()


def before_the_verdict(patch: pytest.MonkeyPatch) -> FakeLauncher:
    patch.setattr("tuner.search.study.compare_measured", killed)
    return FakeLauncher()


def after_a_failed_trial(_patch: pytest.MonkeyPatch) -> FakeLauncher:
    def refuse(_configuration: Configuration, nth: int) -> None:
        if not launcher.measured and nth == 0 and not refused:
            refused.append(True)
            raise BadInput("never works")

    refused: list[bool] = []
    launcher = in_window(3)
    launcher.on_warm_up = refuse
    return launcher


def after_pruned_ones(patch: pytest.MonkeyPatch) -> FakeLauncher:
    """One page size does not fit: the first fails, the others of it are skipped."""

    def refuse(settings: EngineSettings, _nth: int) -> None:
        if settings.block_size == 32:
            raise TrialFailed(FailureClass.OUT_OF_MEMORY, "Ran out of memory in memory space hbm")

    before_the_verdict(patch)
    return FakeLauncher(on_open=refuse)


DEATHS: list[Callable[[pytest.MonkeyPatch], FakeLauncher]] = [
    before_the_goal,
    before_the_first_trial,
    in_the_engines_start,
    in_a_trials_start,
    lambda _patch: in_window(2),
    lambda _patch: in_window(4, KeyboardInterrupt),
    after_a_stored_window,
    after_one_trial_is_finished,
    after_a_failed_trial,
    after_pruned_ones,
    before_the_finalists,
    before_the_verdict,
]
NAMES = [
    "before the goal",
    "before the first trial",
    "in the engine's start",
    "in a trial's start",
    "between windows",
    "Ctrl-C",
    "after a stored window",
    "after a finished trial",
    "after a failed trial",
    "after pruned trials",
    "before the finalists",
    "before the verdict",
]


def finished(bench: Workbench) -> int:
    """Search trials that ended. No configuration has two."""
    found = [configuration_of(trial) for trial in bench.trials()]
    assert len(found) == len(set(found))
    return sum(state in FINISHED for state in states(bench.trials()))


def die(bench: Workbench, death: Callable[[pytest.MonkeyPatch], FakeLauncher], **settings: Any) -> None:
    """A run that is ended there. Like a process that is killed, it cannot say so: the study stays RUNNING."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises((Killed, Interrupted)) as caught:
        bench.run(death(patch), resume=True, **SETTINGS, **settings)
    if caught.type is Killed:
        bench.storage.update_study(bench.storage.get_study("s").id, state=StudyState.RUNNING)


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS, ids=NAMES)
def test_resume_adds_exactly_n_wherever_the_run_before_died(bench: Workbench, death: Callable[[pytest.MonkeyPatch], FakeLauncher]) -> None:
    bench.run(trials=2, **SETTINGS)
    die(bench, death, trials=3)
    assert 2 <= finished(bench) <= 5
    if death is after_pruned_ones:
        assert {"PRUNED", "FAIL"} <= set(states(bench.trials()))
    bench.run(trials=3, resume=True, **SETTINGS)
    assert finished(bench) == 2 + 3, "the same command: what the run that died left of its three"
    bench.run(trials=3, resume=True, **SETTINGS)
    assert finished(bench) == 5 + 3, "that run ended: three more"


@pytest.mark.slow
@pytest.mark.parametrize("death", [DEATHS[0], DEATHS[4], DEATHS[8], DEATHS[11]], ids=[NAMES[0], NAMES[4], NAMES[8], NAMES[11]])
def test_another_n_is_counted_from_what_was_finished(bench: Workbench, death: Callable[[pytest.MonkeyPatch], FakeLauncher]) -> None:
    bench.run(trials=2, **SETTINGS)
    die(bench, death, trials=3)
    before = finished(bench)
    bench.run(trials=2, resume=True, **SETTINGS)
    assert finished(bench) == before + 2


@pytest.mark.slow
def test_the_n_of_a_run_is_not_that_of_one_with_another_goal_in_between(bench: Workbench) -> None:
    """Three, interrupted; then everything, interrupted: `--trials 3` is three more, not what the first one left."""
    bench.run(trials=2, **SETTINGS)
    die(bench, lambda _patch: in_window(3), trials=3)
    die(bench, lambda _patch: in_window(3))
    before = finished(bench)
    bench.run(trials=3, resume=True, **SETTINGS)
    assert finished(bench) == before + 3
