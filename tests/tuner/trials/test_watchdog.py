"""A hung engine is given up long before a slow window would be, and a slow one is not taken for hung."""

from __future__ import annotations

import click
import pytest

from tuner.cli.search import search
from tuner.cli.worker import worker
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.trials.watchdog import FACTOR, FEWEST, FLOOR_S, Watchdog


def after(*windows: float, factor: float = 20.0, limit_s: float = 600.0) -> Watchdog:
    watchdog = Watchdog(factor, limit_s)
    for seconds in windows:
        watchdog.measured(seconds)
    return watchdog


def test_nothing_is_usual_before_some_windows() -> None:
    assert after(*[5.0] * (FEWEST - 1)).patience_s == 600.0
    assert after(*[5.0] * (FEWEST - 1)).reason is None


def test_the_longest_window_counts() -> None:
    watchdog = after(5.0, 1.0, 2.0)
    assert watchdog.patience_s == 100.0
    assert watchdog.reason == "it counts as hung after 100 s: the longest of its 3 windows took 5 s"


def test_short_windows_have_a_floor_and_long_ones_the_limit() -> None:
    assert after(0.1, 0.1, 0.1).patience_s == FLOOR_S
    assert after(50.0, 50.0, 50.0).patience_s == 600.0
    assert after(50.0, 50.0, 50.0).reason is None
    assert after(0.1, 0.1, 0.1, limit_s=30.0).patience_s == 30.0, "trial_timeout is the user's"


@pytest.mark.parametrize("windows", [0, 3, 30])
def test_it_can_be_turned_off(windows: int) -> None:
    assert after(*[0.1] * windows, factor=0.0).patience_s == 600.0


def test_a_time_out_says_why_it_came_so_early_and_no_other_failure_does() -> None:
    watchdog = after(5.0, 1.0, 2.0)
    with pytest.raises(EngineLost, match=r"^engine measure took more than 130 s; it counts as hung after 100 s: "), watchdog.explained():
        raise EngineLost(FailureClass.TIMEOUT, "engine measure took more than 130 s")
    with pytest.raises(TrialFailed, match=r"^bad$"), watchdog.explained():
        raise TrialFailed(FailureClass.INVALID_CONFIG, "bad")
    with pytest.raises(TrialFailed, match=r"^slow$"), after().explained():
        raise TrialFailed(FailureClass.TIMEOUT, "slow")


@pytest.mark.parametrize("command", [search, worker])
def test_the_command_lines_say_the_same_factor(command: click.Command) -> None:
    assert [item.default for item in command.params if item.name == "hang_factor"] == [FACTOR]
