"""Trials read bit by bit tell what they tell when they are all read at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.sampler.grid import Row, Space
from tuner.sampler.trial_reader import Told, TrialReader

SPACE: dict[str, BaseDistribution] = {"page": IntDistribution(0, 9), "budget": IntDistribution(0, 9)}
TEN_BY_TEN = Space(SPACE)
STATES = st.sampled_from((TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED))


def same(left: Told, right: Told) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in Told.__dataclass_fields__)


def trial(number: int, state: TrialState, **more: Any) -> FrozenTrial:
    made = optuna.trial.create_trial(
        params={"page": number % 10, "budget": number // 10 % 10},
        distributions=SPACE,
        state=state,
        value=float(number) if state is TrialState.COMPLETE else None,
        intermediate_values={0: -1.0, 1: number + 0.5} if state is TrialState.PRUNED and number % 2 else {},
        **more,
    )
    made.number = number
    return made


def row_of(item: FrozenTrial) -> list[int]:
    row = TEN_BY_TEN.find(item.params)
    assert row is not None
    return list(row)


@given(st.lists(STATES, max_size=30), st.data())
def test_bit_by_bit_is_all_at_once_whatever_finishes_first(states: list[TrialState], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(states))))
    trials = [trial(number, TrialState.RUNNING) for number in range(len(states))]
    reader = TrialReader(TEN_BY_TEN, "fixed_params")
    for place in order:
        trials[place] = trial(place, states[place])
        assert same(reader.read(trials, 1), TrialReader(TEN_BY_TEN, "fixed_params").read_once(trials, 1))


def test_what_is_told_of_each_kind_of_trial() -> None:
    trials = [
        trial(3, TrialState.COMPLETE),
        trial(4, TrialState.FAIL),
        trial(5, TrialState.PRUNED),
        trial(6, TrialState.PRUNED),
        trial(7, TrialState.RUNNING),
        trial(8, TrialState.COMPLETE, constraints={"slack": 0.25, "kept": -3.0}),
    ]
    told = TrialReader(TEN_BY_TEN, "fixed_params").read(trials, 1)
    assert told.levels.tolist() == [row_of(item) for item in trials if item.number != 7]
    assert told.values[:, 0].tolist() == [3.0, 0.0, 5.5, 0.0, 8.0]
    assert told.violations.tolist() == [0.0, np.inf, 0.0, np.inf, 0.25]
    assert told.pending.tolist() == [row_of(trials[4])]
    assert told.tried.tolist() == [row_of(item) for item in trials]


@pytest.mark.parametrize("length", [0, 2, 5, 8])
def test_another_study_is_read_from_its_start(length: int) -> None:
    reader = TrialReader(TEN_BY_TEN, "fixed_params")
    reader.read([trial(number, TrialState.COMPLETE) for number in range(5)], 1)
    other = [trial(number, TrialState.FAIL) for number in range(length)]
    assert same(reader.read(other, 1), TrialReader(TEN_BY_TEN, "fixed_params").read_once(other, 1))


def test_a_trial_is_read_once_when_it_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Mapping[str, Any]] = []
    find = Space.find

    def counted(space: Space, params: Mapping[str, Any]) -> Row | None:
        read.append(params)
        return find(space, params)

    monkeypatch.setattr(Space, "find", counted)
    reader = TrialReader(TEN_BY_TEN, "fixed_params")
    trials = [trial(number, TrialState.COMPLETE) for number in range(20)]
    for count in range(1, 21):
        reader.read(trials[:count], 1)
    assert len(read) == 20
