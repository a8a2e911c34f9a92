"""The engine pool: one engine at a time, reused while the cold settings stay, closed whatever happens."""

from __future__ import annotations

import errno

import pytest

from storage.base import Storage, StorageUnavailable
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import config_of
from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput, EngineLost, FailureClass, Interrupted, TrialFailed
from tuner.setup.study_setup import prepare_study
from tuner.trials.context import RunContext
from tuner.trials.engines import EnginePool, environment_of, launcher_errors

SETUP = prepare_study(config_of())


@pytest.fixture
def context(storage: Storage) -> RunContext:
    return RunContext(storage, SETUP)


def pool_of(context: RunContext, launcher: FakeLauncher, earlier_starts: int = 0) -> tuple[EnginePool, list[int]]:
    starts: list[int] = []
    pool = EnginePool(context, launcher, lambda: starts.append(pool.starts), earlier_starts=earlier_starts)
    return pool, starts


def test_an_engine_is_reused_for_the_same_settings_only(context: RunContext) -> None:
    launcher = FakeLauncher()
    pool, starts = pool_of(context, launcher)
    first, fresh = pool.session(SETUP.group_engine(16))
    again, fresh_again = pool.session(SETUP.group_engine(16))
    assert (first is again, fresh, fresh_again, launcher.running) == (True, True, False, 1)
    assert pool.running_engine == (16, ())
    pool.session(SETUP.group_engine(32))
    assert (launcher.running, pool.running_engine, starts) == (1, (32, ()), [1, 2])
    pool.close()
    pool.close()
    assert launcher.running == 0 and launcher.closed and pool.running is None


def test_a_start_that_fails_is_counted_and_leaves_nothing(context: RunContext) -> None:
    def refuse(settings: EngineSettings, nth: int) -> None:
        raise TrialFailed(FailureClass.STARTUP, "no")

    pool, starts = pool_of(context, FakeLauncher(on_open=refuse))
    with pytest.raises(TrialFailed, match="no"):
        pool.session(SETUP.group_engine(16))
    assert starts == [1] and pool.running is None and pool.running_engine is None


def test_total_starts_count_earlier_runs(context: RunContext) -> None:
    pool, _ = pool_of(context, FakeLauncher(), earlier_starts=3)
    pool.session(SETUP.group_engine(16))
    assert (pool.starts, pool.total_starts) == (1, 4)


@pytest.mark.parametrize(("name", "value"), [("block_size", 64), ("max_num_batched_tokens", 2048)])
def test_an_engine_that_runs_something_else_is_refused(context: RunContext, name: str, value: int) -> None:
    launcher = FakeLauncher(effective=lambda _settings: {name: value})
    pool, _ = pool_of(context, launcher)
    with pytest.raises(TrialFailed, match=f"asked for {name} .* but the engine runs {value}") as caught:
        pool.session(SETUP.group_engine(16))
    assert caught.value.failure is FailureClass.INVALID_CONFIG
    pool.close()
    assert launcher.running == 0


def test_the_environment_is_what_the_engine_reports(context: RunContext) -> None:
    pool, _ = pool_of(context, FakeLauncher())
    session, _ = pool.session(SETUP.group_engine(16))
    assert environment_of(session).accelerator == "fake engine"


@pytest.mark.parametrize(
    ("raised", "expected", "failure"),
    [
        (BadInput("bad"), TrialFailed, FailureClass.INVALID_CONFIG),
        (ZeroDivisionError("oops\nmore"), EngineLost, FailureClass.INTERNAL),
        (EngineLost(FailureClass.TIMEOUT, "slow"), EngineLost, FailureClass.TIMEOUT),
        (OSError(errno.ENOSPC, "No space left on device"), EngineLost, FailureClass.NO_SPACE),
        (OSError(errno.EACCES, "Permission denied"), EngineLost, FailureClass.INTERNAL),
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
