"""Engines that fail now and then: what another attempt may mend is tried again, what it cannot is not, and each attempt is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.records import Stage, StudyState, TrialState
from tests.tuner.fake_engine import FakeLauncher, crash
from tests.tuner.workbench import Workbench, states
from tuner.core.contract import EngineSettings, WindowResult
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.setup.space import Configuration
from tuner.trials.context import Retries
from tuner.trials.retry import attempts_of

BAD = Configuration(32, 256, "page_aligned")  # would be the best
TRIED = Retries(3, wait_s=0.01, host="tpu-1")


def starts_badly(failure: FailureClass, times: int) -> Callable[[EngineSettings, int], None]:
    """Engines with 32-token pages fail to start so often."""

    def hook(settings: EngineSettings, nth: int) -> None:
        if settings.block_size == 32 and nth < times:
            raise TrialFailed(failure, f"it did not start, {nth}", "the log")

    return hook


def loses(failure: FailureClass, *of_its_windows: int) -> Callable[[Configuration, int, WindowResult], WindowResult]:
    """The engine is lost in these windows of BAD."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration == BAD and nth in of_its_windows:
            raise EngineLost(failure, "gone")
        return result

    return hook


def windows_are_whole(bench: Workbench) -> None:
    """Each round of each trial once: nothing was measured twice, nothing is missing."""
    for trial in bench.trials():
        if trial.state is TrialState.COMPLETE:
            assert sorted(item.round for item in bench.windows(trial)) == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("failure", "times"), [(FailureClass.STARTUP, 1), (FailureClass.TIMEOUT, 1), (FailureClass.IN_USE, 3)])
def test_an_engine_that_did_not_start_is_started_again(bench: Workbench, failure: FailureClass, times: int) -> None:
    """A device that another process holds for a while, for instance."""
    launcher = FakeLauncher(on_open=starts_badly(failure, times))
    outcome = bench.run(launcher, retries=TRIED)
    assert [settings.block_size for settings in launcher.opened[: times + 2]] == [32] * (times + 1) + [16]
    assert set(states(bench.trials())) == {TrialState.COMPLETE}
    windows_are_whole(bench)
    for trial in bench.trials():
        found = attempts_of(trial.notes)
        expected = [(nth + 1, failure.value, "tpu-1") for nth in range(times)] if trial.block_size == 32 else []
        assert [(item.number, item.error_class, item.host) for item in found] == expected
    assert outcome.study.engine_starts == len(launcher.opened) and outcome.study.state is StudyState.COMPLETE
    assert any(f"{failure}: it did not start, 0; tried again with a fresh engine" in line for line in bench.lines)


@pytest.mark.slow
@pytest.mark.parametrize("failure", [FailureClass.OUT_OF_MEMORY, FailureClass.COMPILE_ERROR])
def test_what_another_attempt_cannot_mend_is_tried_once(bench: Workbench, failure: FailureClass) -> None:
    launcher = FakeLauncher(on_open=starts_badly(failure, 1))
    bench.run(launcher, retries=TRIED)
    assert [settings.block_size for settings in launcher.opened[:2]] == [32, 16]
    failed = [trial for trial in bench.trials() if trial.state is TrialState.FAIL]
    assert len(failed) == 4 and {trial.error_class for trial in failed} == {failure.value}
    assert not any(attempts_of(trial.notes) for trial in bench.trials())


@pytest.mark.slow
@pytest.mark.parametrize("failure", [FailureClass.ENGINE_CRASH, FailureClass.TIMEOUT])
@pytest.mark.parametrize("window", [0, 2])
def test_a_crash_or_hang_is_tried_once_more_in_its_place(bench: Workbench, failure: FailureClass, window: int) -> None:
    launcher = FakeLauncher(on_measure=loses(failure, window))
    bench.run(launcher, retries=TRIED)
    assert set(states(bench.trials())) == {TrialState.COMPLETE}
    windows_are_whole(bench)
    (attempt,) = attempts_of(bench.trial(BAD).notes)
    assert (attempt.error_class, attempt.host, attempt.engine_start) == (failure.value, "tpu-1", 1)
    assert [settings.block_size for settings in launcher.opened[:3]] == [32, 32, 16]


@pytest.mark.slow
def test_a_configuration_that_always_crashes_fails_with_both_attempts_told(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        if configuration == BAD:
            raise crash()

    launcher = FakeLauncher(on_warm_up=hook)
    bench.run(launcher, retries=TRIED)
    failed = bench.trial(BAD)
    assert (failed.state, failed.values, failed.error_class) == (TrialState.FAIL, None, "engine_crash")
    assert [item.then for item in attempts_of(failed.notes)] == ["tried again with a fresh engine", "given up"]
    assert states(bench.trials()).count(TrialState.COMPLETE) == 7
    windows_are_whole(bench)
    assert [settings.block_size for settings in launcher.opened[:4]] == [32, 32, 32, 16]


@pytest.mark.slow
def test_an_engine_in_which_everything_crashes_does_not_start_for_ever(bench: Workbench) -> None:
    """The first configuration is tried twice; after it nothing was measured, so the others are tried once."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration.block_size == 32:
            raise crash()
        return result

    launcher = FakeLauncher(on_measure=hook)
    bench.run(launcher, retries=TRIED)
    assert [settings.block_size for settings in launcher.opened].count(32) == 4
    assert {trial.state for trial in bench.trials() if trial.block_size == 32} == {TrialState.FAIL}


@pytest.mark.slow
def test_attempts_are_counted_over_a_run_that_died(bench: Workbench) -> None:
    """It died while it waited for the second attempt; its successor does not begin to count anew."""

    class Died(BaseException):
        pass

    def hook(settings: EngineSettings, nth: int) -> None:
        if nth == 1:
            raise Died
        raise TrialFailed(FailureClass.STARTUP, "no")

    with pytest.raises(Died):
        bench.run(FakeLauncher(on_open=hook), page_sizes=[32], retries=TRIED)
    resumed = FakeLauncher(on_open=starts_badly(FailureClass.STARTUP, 9))
    bench.run(resumed, page_sizes=[32], resume=True, retries=TRIED)
    assert len(resumed.opened) == 1
    assert {len(attempts_of(trial.notes)) for trial in bench.trials()} == {2}


@pytest.mark.slow
def test_none_are_tried_again_where_that_is_asked_for(bench: Workbench) -> None:
    launcher = FakeLauncher(on_open=starts_badly(FailureClass.STARTUP, 1))
    bench.run(launcher, retries=Retries(0))
    assert states(bench.trials()).count(TrialState.FAIL) == 4
    assert not any(attempts_of(trial.notes) for trial in bench.trials())


@pytest.mark.slow
def test_a_finalist_that_did_not_start_is_started_again(bench: Workbench) -> None:
    launcher = FakeLauncher(on_open=lambda settings, nth: starts_badly(FailureClass.STARTUP, 1)(settings, nth - 1) if nth else None)
    outcome = bench.run(launcher, retries=TRIED)
    assert set(states(bench.trials(Stage.CONFIRM))) == {TrialState.COMPLETE}
    assert sum(len(attempts_of(trial.notes)) for trial in bench.trials(Stage.CONFIRM)) == 1
    assert outcome.recommendation.body["settings"]["block_size"] == 32
