from __future__ import annotations

from itertools import count

import pytest

from tuner.trials.idle import BUSY, MIN_EARLIER, RECENT, is_busy, wait_until_idle


def test_only_what_goes_well_beyond_the_usual_is_busy() -> None:
    quiet, loaded = [0.02] * MIN_EARLIER, [0.5] * MIN_EARLIER
    assert is_busy(0.3, quiet) and not is_busy(0.02 + BUSY, quiet)
    assert not is_busy(0.55, loaded), "a machine that is always busy is measured as it is"
    assert not is_busy(0.9, quiet[1:]) and not is_busy(None, quiet)


def test_the_usual_level_follows_a_load_that_stays() -> None:
    fractions = [0.0] * 40
    fractions += [0.4] * (RECENT // 2)
    assert is_busy(0.4, fractions)
    assert not is_busy(0.4, [*fractions, 0.4])


@pytest.mark.parametrize(("loads", "idle"), [((0.0,), True), ((0.9, 0.9, 0.0), True), ((0.9,) * 9, False)])
def test_waiting_ends_when_it_is_quiet_or_patience_is_over(loads: tuple[float, ...], idle: bool) -> None:
    readings, seconds = iter(loads), count()
    found = wait_until_idle([0.0] * MIN_EARLIER, patience_s=4, cpu_busy=lambda: next(readings), now=lambda: float(next(seconds)))
    assert found is idle
