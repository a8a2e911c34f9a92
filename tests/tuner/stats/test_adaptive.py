from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.metrics.catalog import Direction
from tuner.stats.adaptive import MIN_ROUNDS_TO_GIVE_UP, chance_of_verdict, decide_rounds
from tuner.stats.intervals import judge_family
from tuner.stats.sequential import InterimPlan

UP = Direction.MAXIMIZE
PLAN = InterimPlan(3, 12)
CLEAR = [0.10, 0.101, 0.099, 0.1]
OPEN = [0.03, -0.005, 0.04]
FUTILE = [0.05, -0.05, 0.06, -0.06, 0.055, -0.055, 0.05, -0.052]


@pytest.mark.slow
def test_stops_when_every_cell_is_decided() -> None:
    decision = decide_rounds({"a": CLEAR, "b": CLEAR}, UP, PLAN)
    assert (decision.stop, decision.reason, decision.decided, decision.open_cells) == (True, "decided", ("a", "b"), ())


@pytest.mark.slow
def test_goes_on_with_the_open_cells_only() -> None:
    decision = decide_rounds({"a": CLEAR, "b": OPEN, "c": FUTILE, "new": []}, UP, PLAN)
    assert not decision.stop and decision.reason == "continue"
    assert decision.open_cells == ("b", "new") and decision.futile == ("c",) and decision.decided == ("a",)


def test_gives_up_what_cannot_be_decided_any_more() -> None:
    decision = decide_rounds({"c": FUTILE}, UP, PLAN)
    assert (decision.stop, decision.reason) == (True, "futility")


@pytest.mark.parametrize(("sure_level", "reason"), [(None, "decided"), (0.05, "decided"), (1e-3, "continue"), (1e-6, "decided")])
def test_a_cell_goes_on_until_it_is_sure_over_the_study_or_cannot_be(sure_level: float | None, reason: str) -> None:
    """Eight rounds of a p-value of 0.0023: 1e-3 can still be reached in twelve, and 1e-6 cannot."""
    values = [0.05, 0.02, 0.06, 0.03, 0.055, 0.025, 0.05, 0.02]
    decision = decide_rounds({"a": values}, UP, PLAN, sure_level=sure_level)
    assert decision.reason == reason and decision.effects["a"].verdict == "better"
    assert decision.unsure == decision.open_cells == (("a",) if reason == "continue" else ())


def test_equivalence_needs_no_more_rounds() -> None:
    same = [0.0001, -0.0001, 0.00005, -0.00005]
    assert decide_rounds({"a": same}, UP, PLAN, sure_level=1e-4).reason == "decided"


@pytest.mark.parametrize(
    ("rounds_done", "left_s", "round_s", "reason"),
    [
        (12, None, None, "budget"),
        (3, 5.0, 6.0, "budget"),
        (3, 6.0, 6.0, "continue"),
        (3, -1.0, None, "budget"),
        (11, None, None, "continue"),
    ],
)
def test_the_budget_stops(rounds_done: int, left_s: float | None, round_s: float | None, reason: str) -> None:
    decision = decide_rounds({"b": OPEN}, UP, PLAN, rounds_done=rounds_done, budget_left_s=left_s, round_s=round_s)
    assert decision.reason == reason and decision.stop == (reason == "budget")


def test_effects_are_those_of_the_family() -> None:
    cells = {"a": CLEAR, "b": OPEN}
    assert decide_rounds(cells, UP, PLAN).effects == judge_family(cells, UP, plan=PLAN)


def test_chance_of_verdict() -> None:
    assert chance_of_verdict(FUTILE[: MIN_ROUNDS_TO_GIVE_UP - 1], PLAN) == 1.0
    assert chance_of_verdict(FUTILE, PLAN) < 0.05
    assert chance_of_verdict([0.03, 0.02, 0.04, 0.01, 0.05, 0.03], PLAN) > 0.9
    assert chance_of_verdict([0.001, -0.001, 0.002, -0.002, 0.001, -0.001], PLAN) > 0.9  # on its way to "equivalent"
    assert chance_of_verdict(FUTILE + FUTILE[:4], PLAN) == 0.0  # nothing left to measure
    assert chance_of_verdict([0.02] * 6, PLAN) == 1.0


@examples(60)
@given(st.lists(st.floats(-0.2, 0.2), min_size=0, max_size=14))
def test_chance_is_a_probability_and_symmetric(values: list[float]) -> None:
    chance = chance_of_verdict(values, PLAN)
    assert 0 <= chance <= 1
    assert chance_of_verdict([-value for value in values], PLAN) == pytest.approx(chance, abs=1e-9)


@pytest.mark.slow
def test_stopping_early_keeps_false_findings_rare() -> None:
    """300 A/A cells, alone, looked at after each round and stopped when called: 5 % may be called, give or take 300 draws."""
    rng = np.random.default_rng(5)
    called = 0
    for _ in range(300):
        values: list[float] = []
        for _ in range(PLAN.last):
            values.append(float(0.03 * rng.standard_normal()))
            decision = decide_rounds({"": values}, UP, PLAN)
            if decision.stop:
                break
        called += decision.effects[""].verdict.decided
    assert called / 300 <= 0.08
