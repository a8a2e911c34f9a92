"""The engine keeper: one engine at a time, reused while the cold settings stay, closed whatever happens."""

from __future__ import annotations

import pytest

from storage.base import StorageUnavailable
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import config_of
from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput, EngineLost, FailureClass, Interrupted, TrialFailed
from tuner.setup.study_setup import prepare_study
from tuner.trials.budget import CostClock
from tuner.trials.engines import EngineKeeper, environment_of, launcher_errors
from tuner.trials.progress import Progress

SETUP = prepare_study(config_of())


def keeper_of(launcher: FakeLauncher) -> tuple[EngineKeeper, list[int]]:
    starts: list[int] = []
    keeper = EngineKeeper(launcher, CostClock(), 60.0, Progress(), lambda: starts.append(keeper.starts))
    return keeper, starts


def test_an_engine_is_reused_for_the_same_settings_only() -> None:
    launcher = FakeLauncher()
    keeper, starts = keeper_of(launcher)
    first, fresh = keeper.session(SETUP.group_engine(16))
    again, fresh_again = keeper.session(SETUP.group_engine(16))
    assert (first is again, fresh, fresh_again, launcher.running) == (True, True, False, 1)
    assert keeper.running_block_size == 16
    keeper.session(SETUP.group_engine(32))
    assert (launcher.running, keeper.running_block_size, starts) == (1, 32, [1, 2])
    keeper.close()
    keeper.close()
    assert launcher.running == 0 and launcher.closed and keeper.running is None


def test_a_start_that_fails_is_counted_and_leaves_nothing() -> None:
    def refuse(settings: EngineSettings, nth: int) -> None:
        raise TrialFailed(FailureClass.STARTUP, "no")

    keeper, starts = keeper_of(FakeLauncher(on_open=refuse))
    with pytest.raises(TrialFailed, match="no"):
        keeper.session(SETUP.group_engine(16))
    assert starts == [1] and keeper.running is None and keeper.running_block_size is None


def test_total_starts_count_earlier_runs() -> None:
    keeper, _ = keeper_of(FakeLauncher())
    keeper.earlier_starts = 3
    keeper.session(SETUP.group_engine(16))
    assert (keeper.starts, keeper.total_starts) == (1, 4)


@pytest.mark.parametrize(("name", "value"), [("block_size", 64), ("max_num_batched_tokens", 2048)])
def test_an_engine_that_runs_something_else_is_refused(name: str, value: int) -> None:
    launcher = FakeLauncher(effective=lambda _settings: {name: value})
    keeper, _ = keeper_of(launcher)
    with pytest.raises(TrialFailed, match=f"asked for {name} .* but the engine runs {value}") as caught:
        keeper.session(SETUP.group_engine(16))
    assert caught.value.failure is FailureClass.INVALID_CONFIG
    keeper.close()
    assert launcher.running == 0


def test_the_environment_is_what_the_engine_reports() -> None:
    keeper, _ = keeper_of(FakeLauncher())
    session, _ = keeper.session(SETUP.group_engine(16))
    assert environment_of(session).accelerator == "fake engine"


@pytest.mark.parametrize(
    ("raised", "expected", "failure"),
    [
        (BadInput("bad"), TrialFailed, FailureClass.INVALID_CONFIG),
        (ZeroDivisionError("oops\nmore"), EngineLost, FailureClass.INTERNAL),
        (EngineLost(FailureClass.TIMEOUT, "slow"), EngineLost, FailureClass.TIMEOUT),
    ],
)
def test_what_a_launcher_raises_becomes_typed(raised: Exception, expected: type[TrialFailed], failure: FailureClass) -> None:
    with pytest.raises(expected) as caught, launcher_errors("measuring x"):
        raise raised
    assert caught.value.failure is failure and "\n" not in str(caught.value)


@pytest.mark.parametrize("passing", [Interrupted("stop"), StorageUnavailable("gone"), KeyboardInterrupt()])
def test_interruptions_and_storage_errors_pass(passing: BaseException) -> None:
    with pytest.raises(type(passing)), launcher_errors("measuring x"):
        raise passing
