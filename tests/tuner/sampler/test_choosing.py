"""Spaces of more configurations than are scored at every choice."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from tests.tuner.sampler.searching import Params, distinct, run
from tuner.core.errors import BadInput
from tuner.sampler import choosing
from tuner.sampler.grid import Space
from tuner.sampler.ordinal_gp import OrdinalGpSampler

MILLION: dict[str, BaseDistribution] = {f"x{number}": IntDistribution(0, 9) for number in range(6)}
SWITCHES: dict[str, BaseDistribution] = {f"on{number:02}": CategoricalDistribution((False, True)) for number in range(24)}


def sphere(params: Params) -> float:
    """Best, 0, at 3, 4, 5, 6, 7, 8."""
    return -float(sum((params[name] - 3 - place) ** 2 for place, name in enumerate(sorted(params))))


@pytest.mark.slow
def test_the_best_of_a_million_is_found() -> None:
    """A random part of a large grid stood for the whole, and the best was not in it."""
    asked = run(OrdinalGpSampler(MILLION, seed=1), 60, sphere, space=MILLION)
    assert distinct(asked) == 60
    assert max(map(sphere, asked)) >= -2, "random ones: about -22"


@pytest.mark.slow
def test_the_best_of_sixteen_million_switches_is_found() -> None:
    def worth(params: Params) -> float:
        return float(sum((number % 5 - 1.5) * params[f"on{number:02}"] for number in range(24))) + 4.0 * bool(
            params["on01"] and params["on02"]
        )

    best = worth({f"on{number:02}": number % 5 > 1 or number == 1 for number in range(24)})
    asked = run(OrdinalGpSampler(SWITCHES, seed=2), 80, worth, space=SWITCHES)
    assert max(map(worth, asked)) >= best - 1


@pytest.mark.slow
def test_a_search_of_a_large_space_can_be_taken_up_again() -> None:
    study = optuna.create_study(direction="maximize")
    whole = run(OrdinalGpSampler(MILLION, seed=3), 18, sphere, space=MILLION)
    begun = run(OrdinalGpSampler(MILLION, seed=3), 11, sphere, space=MILLION, study=study)
    assert begun + run(OrdinalGpSampler(MILLION, seed=3), 7, sphere, space=MILLION, study=study) == whole


@pytest.mark.slow
@pytest.mark.parametrize("least", [0, 45, 53])
def test_conditions_of_a_large_space_are_respected_however_rare_what_fits(least: int) -> None:
    """At least 45: 2,002 of a million; at least 53: 7."""

    def contains(params: Params) -> bool:
        return sum(params.values()) >= least

    asked = run(OrdinalGpSampler(MILLION, seed=4, contains=contains), 7, sphere, space=MILLION)
    assert all(map(contains, asked)) and distinct(asked) == 7


@pytest.mark.slow
def test_an_enqueued_trial_keeps_what_it_fixes_in_a_large_space() -> None:
    study = optuna.create_study(direction="maximize")
    run(OrdinalGpSampler(MILLION, seed=1), 9, sphere, space=MILLION, study=study)
    study.enqueue_trial({"x1": 9, "x4": 0})
    study.enqueue_trial({"x1": 9, "x4": 0, "x0": 3, "x2": 5, "x3": 6, "x5": 8})
    partly, fully = run(OrdinalGpSampler(MILLION, seed=1), 2, sphere, space=MILLION, study=study)
    assert (partly["x1"], partly["x4"]) == (9, 0)
    assert fully == {"x0": 3, "x1": 9, "x2": 5, "x3": 6, "x4": 0, "x5": 8}


@pytest.mark.slow
def test_trials_side_by_side_differ_in_a_large_space() -> None:
    study = optuna.create_study(direction="maximize", sampler=OrdinalGpSampler(MILLION, seed=7))
    run(OrdinalGpSampler(MILLION, seed=7), 9, sphere, space=MILLION, study=study)
    assert distinct([dict(study.ask(MILLION).params) for _ in range(6)]) == 6


@pytest.mark.slow
def test_every_configuration_can_be_met_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is far below the number of configurations."""
    monkeypatch.setattr(choosing, "MAX_CANDIDATES", 10)
    space: dict[str, BaseDistribution] = {"a": IntDistribution(1, 6), "b": IntDistribution(1, 5)}
    asked = run(OrdinalGpSampler(space, seed=1), 30, lambda params: float(params["a"]), space=space)
    assert distinct(asked) == 30
    assert run(OrdinalGpSampler(space, seed=1), 1, space=space, value=lambda _: 1.0)[0]["a"] in range(1, 7)


@pytest.mark.slow
def test_costs_are_weighed_in_a_large_space() -> None:
    def cost_s(params: Params) -> float:
        return 1.0 if params["x0"] == 3 else 1000.0

    asked = run(OrdinalGpSampler(MILLION, seed=5, cost_s=cost_s, cost_depends_on=["x0"]), 25, sphere, space=MILLION)
    assert sum(params["x0"] == 3 for params in asked[10:]) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
def test_a_list_that_is_longer_than_the_limit(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "MAX_CANDIDATES", 50)
    listed = [{**{f"x{axis}": number % (axis + 2) for axis in range(6)}} for number in range(200 * count)]
    kinds = {tuple(params.values()) for params in listed}
    asked = run(OrdinalGpSampler(MILLION, seed=6, configurations=listed), 12, sphere, space=MILLION)
    assert distinct(asked) == 12 and all(tuple(params[f"x{axis}"] for axis in range(6)) in kinds for params in asked)


def test_steps_of_long_axes_reach_far_and_near() -> None:
    assert choosing._offsets(3) == [-1, 1, -2, 2]
    assert choosing._offsets(1000)[-1] == 512 and {1, -1, 2, 3} <= set(choosing._offsets(1000))
    assert choosing._offsets(1) == []


def test_where_nothing_can_run_it_says_so_before_the_search() -> None:
    with pytest.raises(BadInput, match="no configuration that can run"):
        OrdinalGpSampler({f"x{number}": IntDistribution(0, 9) for number in range(4)}, contains=lambda _: False)
    space = Space(MILLION, configurations=[])
    with pytest.raises(BadInput, match="no configuration that can run"):
        space.first(10, seed=0)
    assert np.array_equal(Space(MILLION).can_run(np.zeros((2, 6), dtype=np.intp)), [True, True])
