"""Round policies: a fixed number, or until the data have decided; no cell is measured on that has been decided."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.metrics.catalog import Direction
from tuner.setup.space import Configuration
from tuner.stats.sequential import InterimPlan
from tuner.trials.rounds import AdaptiveRounds, FixedRounds, RoundHistory, round_policy

A, B = Configuration(16, 128, ARM_DEFAULT), Configuration(16, 128, ARM_PAGE_ALIGNED)
C, D = Configuration(16, 256, ARM_DEFAULT), Configuration(16, 256, ARM_PAGE_ALIGNED)
PLAN = InterimPlan(3, 12)


def history(values: Mapping[Configuration, Mapping[int, float]], done: int, seconds_left: float | None = None) -> RoundHistory:
    return RoundHistory(tuple(values), values, done, Direction.MAXIMIZE, seconds_left, 10.0)


def rounds(mean: float, noise: float, count: int, seed: int) -> dict[int, float]:
    generator = random.Random(seed)
    return {number: mean * (1 + generator.gauss(0, noise)) for number in range(count)}


@given(st.integers(1, 20))
def test_fixed_is_exactly_that_many(count: int) -> None:
    policy, done = FixedRounds(count), 0
    while policy.next_round(history({A: {}, B: {}}, done)):
        done += 1
    assert done == count


def test_equal_numbers_make_a_fixed_policy() -> None:
    assert round_policy(5, 5) == FixedRounds(5)
    assert round_policy(3, 12, A) == AdaptiveRounds(PLAN, A)


def test_nothing_is_decided_before_the_first_look() -> None:
    policy = AdaptiveRounds(PLAN)
    assert list(policy.next_round(history({A: rounds(100, 0, 2, 0), B: rounds(200, 0, 2, 0)}, 2))) == [A, B]


def test_a_clear_cell_stops_and_an_open_one_goes_on() -> None:
    values = {A: rounds(100, 0.001, 4, 1), B: rounds(130, 0.001, 4, 2), C: rounds(100, 0.05, 4, 3), D: rounds(101, 0.05, 4, 4)}
    assert list(AdaptiveRounds(PLAN).next_round(history(values, 4))) == [C, D]


def test_a_cell_with_a_verdict_that_the_answer_may_not_count_yet_goes_on() -> None:
    """Also where the best is sought and neither arm can win: harm that was seen is measured until it is sure."""
    values = {A: rounds(100, 0.01, 6, 1), B: rounds(90, 0.01, 6, 2), C: rounds(200, 0.001, 6, 3), D: rounds(260, 0.001, 6, 4)}
    assert list(AdaptiveRounds(PLAN).next_round(history(values, 6))) == []
    for seek_best in (False, True):
        assert list(AdaptiveRounds(PLAN, seek_best=seek_best, sure_level=1e-5).next_round(history(values, 6))) == [A, B]


def test_the_baseline_stays_in_every_round() -> None:
    values = {A: rounds(100, 0.001, 4, 1), B: rounds(130, 0.001, 4, 2), C: rounds(100, 0.05, 4, 3), D: rounds(101, 0.05, 4, 4)}
    assert list(AdaptiveRounds(PLAN, control=A).next_round(history(values, 4))) == [A, C, D]


def test_the_last_round_is_the_last() -> None:
    values = {C: rounds(100, 0.05, 12, 3), D: rounds(101, 0.05, 12, 4)}
    assert list(AdaptiveRounds(PLAN).next_round(history(values, 12))) == []


def test_a_round_that_does_not_fit_into_the_time_is_not_started() -> None:
    values = {C: rounds(100, 0.05, 4, 3), D: rounds(101, 0.05, 4, 4)}
    assert list(AdaptiveRounds(PLAN).next_round(history(values, 4, seconds_left=100.0))) == [C, D]
    assert list(AdaptiveRounds(PLAN).next_round(history(values, 4, seconds_left=9.0))) == []


def test_a_single_arm_races_until_one_is_left() -> None:
    policy = AdaptiveRounds(PLAN)
    near = {A: rounds(100, 0.01, 5, 1), C: rounds(100.5, 0.01, 5, 2), Configuration(16, 512, ARM_DEFAULT): rounds(60, 0.01, 5, 3)}
    assert list(policy.next_round(history(near, 5))) == [A, C]
    far = {A: rounds(100, 0.01, 5, 1), C: rounds(60, 0.01, 5, 2)}
    assert list(policy.next_round(history(far, 5))) == []


def test_pairs_need_both_arms() -> None:
    assert set(history({A: {0: 1.0}, B: {0: 2.0}, D: {0: 3.0}}, 1).pairs()) == {(16, 128)}


@pytest.mark.parametrize("seed", range(5))
def test_every_policy_ends(seed: int) -> None:
    values: dict[Configuration, dict[int, float]] = {A: {}, B: {}, C: {}, D: {}}
    generator, done = random.Random(seed), 0
    while wanted := AdaptiveRounds(PLAN).next_round(history(values, done)):
        for configuration in wanted:
            values[configuration][done] = 100 * (1 + generator.gauss(0, 0.02))
        done += 1
        assert done <= PLAN.last


E = Configuration(16, 512, ARM_DEFAULT)
F = Configuration(16, 512, ARM_PAGE_ALIGNED)
UNDECIDED = {C: rounds(100, 0.02, 4, 3), D: rounds(101, 0.02, 4, 4), E: rounds(60, 0.02, 4, 5), F: rounds(61, 0.02, 4, 6)}


def test_a_cell_that_cannot_win_any_more_stops_where_the_best_is_sought() -> None:
    assert set(AdaptiveRounds(PLAN).next_round(history(UNDECIDED, 4))) == {C, D, E, F}
    assert set(AdaptiveRounds(PLAN, seek_best=True).next_round(history(UNDECIDED, 4))) == {C, D}


def test_the_baselines_cell_is_measured_to_its_verdict_and_the_control_stays() -> None:
    assert set(AdaptiveRounds(PLAN, seek_best=True, keep=E.cell).next_round(history(UNDECIDED, 4))) == {C, D, E, F}
    assert set(AdaptiveRounds(PLAN, control=E, seek_best=True).next_round(history(UNDECIDED, 4))) == {C, D, E}


def test_a_cell_with_one_arm_that_can_win_goes_on() -> None:
    values = {**UNDECIDED, F: rounds(100, 0.6, 4, 9)}
    assert {E, F} <= set(AdaptiveRounds(PLAN, seek_best=True).next_round(history(values, 4)))


def test_who_misses_an_slo_drops_nobody() -> None:
    seen = replace(history(UNDECIDED, 4), may_lead=frozenset({E}))
    assert set(AdaptiveRounds(PLAN, seek_best=True).next_round(seen)) == {C, D, E, F}


def test_the_best_of_another_engine_ends_what_is_far_behind_it() -> None:
    near, far = (100.0, 102.0, 101.0, 99.0), (200.0, 204.0, 202.0, 198.0)
    policy = AdaptiveRounds(PLAN, seek_best=True)
    assert set(policy.next_round(replace(history(UNDECIDED, 4), incumbent=near, rivals=24))) >= {C, D}
    assert list(policy.next_round(replace(history(UNDECIDED, 4), incumbent=far, rivals=24))) == []
