"""Seconds by phase add up to the wall time, over all runs of a study; a spent budget is spent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.trials.budget import PHASES, CostClock, CostModel, TimeBudget


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.tuples(st.sampled_from([*PHASES, ""]), st.floats(0, 1000)), max_size=20), st.floats(0, 1e6))
def test_phases_and_the_rest_are_the_wall_time(spent: list[tuple[str, float]], earlier: float) -> None:
    time = Time()
    clock = CostClock({"start": earlier, "wall": earlier}, time)
    for name, seconds in spent:
        if name:
            with clock.phase(name):
                time.now_s += seconds
        else:
            time.now_s += seconds
    totals = clock.totals()
    assert set(totals) == {*PHASES, "other", "wall"}
    assert sum(value for name, value in totals.items() if name != "wall") == pytest.approx(totals["wall"], abs=1e-4)
    assert totals["wall"] == pytest.approx(earlier + sum(seconds for _, seconds in spent), abs=1e-4)
    assert totals["start"] == pytest.approx(earlier + sum(seconds for name, seconds in spent if name == "start"), abs=1e-4)


def test_time_counts_also_when_a_phase_fails() -> None:
    time = Time()
    clock = CostClock({}, time)

    def fail() -> None:
        with clock.phase("measure"):
            time.now_s += 7
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert clock.totals()["measure"] == 7


def test_a_budget_keeps_its_reserve() -> None:
    time = Time()
    budget = TimeBudget(CostClock({}, time), limit_s=60, reserve_s=20)
    time.now_s += 30
    assert budget.search_left_s() == 10 and not budget.spent
    time.now_s += 11
    assert budget.search_left_s() == 0 and budget.spent


def test_earlier_runs_do_not_spend_this_runs_budget() -> None:
    assert TimeBudget(CostClock({"wall": 1000.0}, Time()), limit_s=60).search_left_s() == 60


def test_without_a_limit_nothing_is_ever_spent() -> None:
    budget = TimeBudget(CostClock(), None)
    assert budget.search_left_s() is None and not budget.spent


def test_costs_begin_with_the_estimate_and_follow_the_mean_of_what_was_seen() -> None:
    costs = CostModel(start_s=20.0, window_s=2.0)
    assert costs.seconds(starts=2, windows=10) == 2 * 20 + 10 * 2
    costs.engine_started(8.0)
    for seconds in (1.0, 3.0, 5.0):
        costs.window_measured(seconds)
    assert (costs.start_s, costs.window_s) == (8.0, 3.0)
    assert costs.seconds(starts=-1, windows=-3) == 0
