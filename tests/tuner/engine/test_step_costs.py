from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tuner.engine.step_costs import Point, StepClock, StepCosts

FOREVER = float("inf")
COSTS = StepCosts(
    "a test",
    padded=(Point(16, 0.010), Point(32, 0.020)),
    logits=(Point(1, 0.001), Point(9, 0.009)),
    prefill=(1.0, 0.1, 0.01, 0.001, 0.0001),
    decode=(2.0, 0.2, 0.02),
)


def test_every_part_of_a_step_is_counted_once() -> None:
    seconds = StepClock(COSTS, [0]).step(16, [(10, 5), (1, 0)], 2, 30)
    first = 1 + 0.1 * 10 + 0.01 * 5 + 0.001 * 50 + 0.0001 * 100
    second = 1 + 0.1 + 0.0001
    assert seconds == pytest.approx(0.010 + 0.004 + first + second + 2 + 0.2 * 2 + 0.02 * 30)


@pytest.mark.parametrize(("size", "seconds"), [(16, 0.010), (24, 0.015), (32, 0.020), (64, 0.040), (1, 0.010)])
def test_sizes_between_and_beyond_those_given(size: int, seconds: float) -> None:
    plain = StepCosts("a test", padded=COSTS.padded)
    assert StepClock(plain, [0]).step(size, [], 0, 0) == pytest.approx(seconds)


def test_repeated_steps_are_those_that_would_come_one_by_one() -> None:
    together = StepClock(COSTS, [0]).repeated(16, 3, 100, 4, FOREVER)
    clock = StepClock(COSTS, [0])
    assert together == pytest.approx([clock.step(16, [], 3, 100 + 3 * later) for later in range(4)])


def test_resampled_noise_takes_the_given_ratios_and_no_others() -> None:
    noisy = StepCosts("a test", padded=(Point(16, 1.0),), step_noise=(0.5, 1.0, 2.0), window_noise=(3.0,))
    assert set(np.round(StepClock(noisy, [1]).repeated(16, 1, 0, 200, FOREVER), 9)) == {1.5, 3.0, 6.0}


def test_twice_as_slow_is_twice_as_slow_in_every_part() -> None:
    slow, clock = StepClock(COSTS.scaled(2), [0]), StepClock(COSTS, [0])
    for step in ((16, [(10, 5)], 0, 0), (24, [], 4, 400), (32, [(1, 9)], 2, 30)):
        assert slow.step(*step) == pytest.approx(2 * clock.step(*step))
    assert slow.repeated(16, 3, 100, 4, FOREVER) == [2 * seconds for seconds in clock.repeated(16, 3, 100, 4, FOREVER)]


def test_steps_that_would_begin_too_late_do_not_use_up_their_noise() -> None:
    noisy = StepCosts("a test", padded=(Point(16, 1.0),), step_noise=(0.5, 1.0, 2.0))
    one, other = StepClock(noisy, [1]), StepClock(noisy, [1])
    whole = one.repeated(16, 1, 0, 20, FOREVER)
    parts = [other.repeated(16, 1, 0, 20, 5.0)]
    assert sum(parts[0][:-1]) < 5.0 <= sum(parts[0])
    parts.append(other.repeated(16, 1, 0, 20 - len(parts[0]), FOREVER))
    assert np.concatenate(parts) == pytest.approx(whole)


@pytest.mark.parametrize("times", [1.0, 1.5, 4.0])
def test_the_first_step_of_a_window_is_slow_whatever_it_is(times: float) -> None:
    slow = replace(COSTS, first=times)
    alone, clock = StepClock(COSTS, [0]), StepClock(slow, [0])
    prefill = alone.step(16, [(10, 5)], 0, 0)
    assert [clock.step(16, [(10, 5)], 0, 0) for _ in range(3)] == pytest.approx([times * prefill, prefill, prefill])
    together, again = StepClock(slow, [0]), StepClock(slow, [0])
    plain = alone.repeated(16, 3, 100, 4, FOREVER)
    assert together.repeated(16, 3, 100, 4, FOREVER) == pytest.approx([times * plain[0], *plain[1:]])
    assert again.repeated(16, 3, 100, 1, FOREVER) + again.repeated(16, 3, 103, 3, FOREVER) == pytest.approx([times * plain[0], *plain[1:]])
