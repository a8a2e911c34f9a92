"""What a study may expect of the sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from tests.tuner.sampler.searching import SPACE, Params, distinct, run, throughput
from tuner.core.errors import BadInput
from tuner.sampler.ordinal_gp import OrdinalGpSampler


@pytest.mark.slow
def test_a_seed_fixes_everything_and_another_one_does_not() -> None:
    first, same, other = (run(OrdinalGpSampler(SPACE, seed=seed), 20) for seed in (5, 5, 6))
    assert first == same
    assert first != other


@pytest.mark.slow
def test_nothing_runs_twice_until_everything_ran() -> None:
    asked = run(OrdinalGpSampler(SPACE, seed=1), 96, lambda params: None if params["budget"] == 8 else throughput(params))
    assert distinct(asked) == 96
    study = optuna.create_study(direction="maximize")
    small: dict[str, BaseDistribution] = {"x": IntDistribution(1, 3)}
    assert distinct(run(OrdinalGpSampler(small), 3, lambda _: 1.0, space=small, study=study)) == 3
    assert run(OrdinalGpSampler(small), 1, lambda _: 1.0, space=small, study=study)[0]["x"] in (1, 2, 3)


@pytest.mark.slow
def test_one_candidate_is_enough_and_the_last_one_is_found() -> None:
    assert (
        run(OrdinalGpSampler(SPACE, contains=lambda params: params == {"page": 32, "budget": 3, "arm": "strict"}), 3)
        == [{"page": 32, "budget": 3, "arm": "strict"}] * 3
    )
    study = optuna.create_study(direction="maximize")
    asked = run(OrdinalGpSampler(SPACE, seed=2), 95, study=study)
    (last,) = run(OrdinalGpSampler(SPACE, seed=3), 1, study=study)
    assert last not in asked


@pytest.mark.slow
def test_conditional_and_infeasible_configurations_are_respected() -> None:
    asked = run(OrdinalGpSampler(SPACE, seed=4, contains=lambda params: params["page"] <= 16 * params["budget"]), 60)
    assert all(params["page"] <= 16 * params["budget"] for params in asked)
    assert distinct(asked) == 60


def test_startup_is_random_and_then_it_learns() -> None:
    values: list[Callable[[Params], float | None]] = [throughput, lambda params: -throughput(params)]
    one, other = (run(OrdinalGpSampler(SPACE, seed=9, n_startup_trials=12), 14, value) for value in values)
    assert one[:12] == other[:12]
    assert one[12:] != other[12:]
    with pytest.raises(BadInput, match="n_startup_trials is 0"):
        OrdinalGpSampler(SPACE, n_startup_trials=0)


@pytest.mark.slow
def test_a_resumed_study_goes_on_as_if_it_had_never_stopped(tmp_path: Any) -> None:
    whole = run(OrdinalGpSampler(SPACE, seed=3), 24)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    stopped = optuna.create_study(direction="maximize", storage=storage, study_name="s")
    begun = run(OrdinalGpSampler(SPACE, seed=3), 13, study=stopped)
    resumed = optuna.load_study(study_name="s", storage=storage)
    assert begun + run(OrdinalGpSampler(SPACE, seed=3), 11, study=resumed) == whole


@pytest.fixture
def few_kept(monkeypatch: pytest.MonkeyPatch) -> int:
    """A posterior is made from so many results at most, else of 400."""
    monkeypatch.setattr("tuner.sampler.search._KEPT", 20)
    return 20


@pytest.mark.slow
def test_a_long_search_forgets_the_others_and_not_the_best(few_kept: int) -> None:
    """What a choice costs grew with every result."""
    sampler = OrdinalGpSampler(SPACE, seed=4)
    asked = run(sampler, 60)
    assert distinct(asked) == 60
    posterior = sampler._model._posterior
    assert posterior is not None and few_kept <= len(posterior) <= 1.2 * few_kept
    ranked = sorted(asked, key=throughput, reverse=True)
    assert {sampler._space.row(params) for params in ranked[: few_kept // 2]} <= set(map(tuple, posterior.observed.tolist()))
    assert throughput(ranked[0]) == 105, "it still finds the best"


@pytest.mark.slow
def test_a_long_search_that_is_taken_up_again_goes_on_alike(few_kept: int) -> None:
    study = optuna.create_study(direction="maximize")
    whole = run(OrdinalGpSampler(SPACE, seed=3), 50)
    assert run(OrdinalGpSampler(SPACE, seed=3), 37, study=study) + run(OrdinalGpSampler(SPACE, seed=3), 13, study=study) == whole


@pytest.mark.slow
def test_a_short_search_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(OrdinalGpSampler(SPACE, seed=3), 30)
    monkeypatch.setattr("tuner.sampler.search._KEPT", 30)
    assert run(OrdinalGpSampler(SPACE, seed=3), 30) == whole


@pytest.mark.slow
def test_a_sampler_that_meets_another_study_reads_that_one(few_kept: int) -> None:
    """Its trials have the numbers of those that were read before."""
    sampler = OrdinalGpSampler(SPACE, seed=6)
    run(sampler, 25, lambda params: -throughput(params))
    assert run(sampler, 30) == run(OrdinalGpSampler(SPACE, seed=6), 30)


@pytest.mark.slow
def test_costs_need_not_be_asked_for_every_configuration() -> None:
    asked: list[Params] = []

    def cost_s(params: Params) -> float:
        asked.append(params)
        return 1.0 if params["page"] == 32 else 3.0

    every = run(OrdinalGpSampler(SPACE, seed=1, cost_s=cost_s), 15)
    of_all = len(asked)
    assert run(OrdinalGpSampler(SPACE, seed=1, cost_s=cost_s, cost_depends_on=["page"]), 15) == every
    assert (len(asked) - of_all) * 24 == of_all, "one of 24 configurations of a page size"


@pytest.mark.slow
def test_minimising_is_maximising_the_negative() -> None:
    up = run(OrdinalGpSampler(SPACE, seed=8), 30)
    down = run(OrdinalGpSampler(SPACE, seed=8), 30, lambda params: -throughput(params), direction="minimize")
    assert up == down


@pytest.mark.slow
def test_the_order_of_choices_is_harmless() -> None:
    shuffled: dict[str, BaseDistribution] = {
        "arm": CategoricalDistribution(("strict", "default", "aligned")),
        "page": CategoricalDistribution((128, 16, 64, 32)),
        "budget": IntDistribution(1, 8),
    }
    assert run(OrdinalGpSampler(SPACE, seed=2), 30) == run(OrdinalGpSampler(shuffled, seed=2), 30, space=shuffled)


@pytest.mark.slow
def test_enqueued_trials_keep_what_they_fix_and_get_the_rest_chosen() -> None:
    study = optuna.create_study(direction="maximize")
    run(OrdinalGpSampler(SPACE, seed=1), 15, study=study)
    study.enqueue_trial({"page": 64})
    study.enqueue_trial({"page": 16, "budget": 1, "arm": "strict"})
    partly, fully = run(OrdinalGpSampler(SPACE, seed=1), 2, study=study)
    assert partly["page"] == 64
    assert fully == {"page": 16, "budget": 1, "arm": "strict"}


def test_an_enqueued_trial_that_waits_is_not_asked_for() -> None:
    small: dict[str, BaseDistribution] = {"x": IntDistribution(1, 2)}
    for seed in range(8):
        study = optuna.create_study(direction="maximize", sampler=OrdinalGpSampler(small, seed=seed))
        running = study.ask(small)
        study.enqueue_trial({"x": 3 - running.params["x"]})
        study._storage.create_new_trial(study._study_id)  # another process takes a number meanwhile
        sampled = study.sampler.sample_relative(study, study.trials[-1], small)
        assert sampled["x"] in (1, 2)
        assert study.ask(small).params["x"] == 3 - running.params["x"]


@pytest.mark.slow
def test_trials_that_run_side_by_side_differ_and_spread() -> None:
    study = optuna.create_study(direction="maximize", sampler=OrdinalGpSampler(SPACE, seed=7))
    run(OrdinalGpSampler(SPACE, seed=7), 15, study=study)
    asked = [dict(study.ask(SPACE).params) for _ in range(12)]
    assert distinct(asked + [dict(trial.params) for trial in study.trials[:15]]) == 27


@pytest.mark.slow
def test_the_best_beside_an_edge_of_failures_is_found_with_few_of_them() -> None:
    space: dict[str, BaseDistribution] = {"a": IntDistribution(0, 9), "b": IntDistribution(0, 9)}
    found, failed = [], []
    for seed in range(8):
        asked = run(OrdinalGpSampler(space, seed=seed), 30, lambda p: None if p["a"] > 5 else p["a"] + 0.1 * p["b"], space=space)
        found.append(asked.index({"a": 5, "b": 9}))
        failed.append(np.mean([params["a"] > 5 for params in asked[4 : found[-1]]] or [0.0]))
    assert np.mean(found) < 20  # a random search without repeats needs 49.5 on average
    assert np.mean(failed) < 0.25  # 40 % of the space fail


@pytest.mark.slow
def test_the_best_that_breaks_no_constraint_is_found_soon() -> None:
    found = []
    for seed in range(5):
        study = optuna.create_study(direction="maximize", sampler=OrdinalGpSampler(SPACE, seed=seed))
        for number in range(96):
            trial = study.ask(SPACE)
            trial.set_constraint("slo", trial.params["budget"] - 3)
            study.tell(trial, throughput(trial.params))
            if trial.params == {"page": 64, "budget": 3, "arm": "aligned"}:
                found.append(number)
                break
    assert len(found) == 5
    assert np.mean(found) < 24  # a random search without repeats needs 47.5 on average


@pytest.mark.slow
def test_what_is_cheap_comes_first_where_it_promises_as_much() -> None:
    space: dict[str, BaseDistribution] = {"x": IntDistribution(0, 19), "engine": CategoricalDistribution(("running", "other"))}

    def cost_s(params: Params) -> float:
        return 1.0 if params["engine"] == "running" else 30.0

    def cheap(sampler: optuna.samplers.BaseSampler) -> int:
        """Of the six choices after the random ones; by then the best is about found, and the other engine's may be better."""
        asked = run(sampler, 8, lambda params: -abs(params["x"] - 13.0), space=space)
        return sum(params["engine"] == "running" for params in asked[2:])

    aware = sum(cheap(OrdinalGpSampler(space, seed=seed, cost_s=cost_s)) for seed in range(5))
    blind = sum(cheap(OrdinalGpSampler(space, seed=seed)) for seed in range(5))
    assert aware > blind + 10
    with pytest.raises(BadInput, match="cost_s gave 0 s"):
        run(OrdinalGpSampler(SPACE, cost_s=lambda _: 0.0), 10)


@pytest.mark.slow
def test_pruned_trials_count_by_their_last_intermediate_value() -> None:
    def study_of(pruned: bool) -> optuna.Study:
        study = optuna.create_study(direction="maximize")
        for budget in range(1, 9):
            params = {"page": 16, "budget": budget, "arm": "default"}
            value = throughput(params)
            state = TrialState.PRUNED if pruned else TrialState.COMPLETE
            study.add_trial(
                create_trial(
                    params=params,
                    distributions=SPACE,
                    state=state,
                    value=None if pruned else value,
                    intermediate_values={0: value - 50, 1: value} if pruned else {},
                )
            )
        return study

    asked = [run(OrdinalGpSampler(SPACE, seed=0), 10, study=study_of(pruned)) for pruned in (True, False)]
    assert asked[0] == asked[1]


@pytest.mark.slow
def test_earlier_studies_speed_the_search_up_and_do_not_bind_it() -> None:
    def to_the_best(seed: int, earlier: list[list[optuna.trial.FrozenTrial]]) -> int:
        study, sampler = optuna.create_study(direction="maximize"), OrdinalGpSampler(SPACE, seed=seed, earlier=earlier)
        for number in range(96):
            if run(sampler, 1, study=study) == [{"page": 64, "budget": 6, "arm": "aligned"}]:
                return number
        raise AssertionError("everything was tried")

    before = optuna.create_study(direction="maximize")
    run(OrdinalGpSampler(SPACE, seed=99), 40, lambda params: 0.5 * throughput(params) - 3, study=before)
    opposite = optuna.create_study(direction="maximize")
    run(OrdinalGpSampler(SPACE, seed=99), 40, lambda params: -throughput(params), study=opposite)
    cold, warm, misled = ([to_the_best(seed, earlier) for seed in range(4)] for earlier in ([], [before.trials], [opposite.trials]))
    assert np.mean(warm) <= 3 < np.mean(cold)
    assert np.mean(misled) < 48  # a random search would need 48 on average


def foreseen(value: Callable[[Params], float]) -> list[optuna.trial.FrozenTrial]:
    """Predictions for all of SPACE."""
    everything = optuna.create_study(direction="maximize")
    run(OrdinalGpSampler(SPACE, n_startup_trials=96), 96, value, study=everything)
    return everything.trials


@pytest.mark.slow
@pytest.mark.parametrize("level", [1.0, 3.0])
def test_a_right_prediction_leads_to_the_best_at_once_whatever_its_level(level: float) -> None:
    sampler = OrdinalGpSampler(SPACE, seed=0, predicted=foreseen(lambda params: level * (throughput(params) + 100)))
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"page": 16, "budget": 2, "arm": "default"})
    asked = run(sampler, 3, lambda params: throughput(params) + 100, study=study)
    assert {"page": 64, "budget": 6, "arm": "aligned"} in asked


@pytest.mark.slow
def test_a_wrong_prediction_is_dropped() -> None:
    sampler = OrdinalGpSampler(SPACE, seed=0, predicted=foreseen(lambda params: 300 - throughput(params)))
    assert {"page": 64, "budget": 6, "arm": "aligned"} in run(sampler, 48)


@pytest.mark.slow
def test_trials_outside_the_space_are_ignored() -> None:
    wider: dict[str, BaseDistribution] = {**SPACE, "budget": IntDistribution(1, 100)}
    study = optuna.create_study(direction="maximize")
    run(OrdinalGpSampler(wider, seed=0), 20, space=wider, study=study)
    assert all(params["budget"] <= 8 for params in run(OrdinalGpSampler(SPACE, seed=0), 5, study=study))


@pytest.mark.slow
def test_several_objectives_spread_along_the_front() -> None:
    """The front: budget 1 to 8 at page 64 in arm aligned, 8 of 96; a random search finds 8 x 30 / 96 = 2.5 of them in 30 trials."""
    found = []
    for seed in range(4):
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=OrdinalGpSampler(SPACE, seed=seed))
        for _ in range(30):
            trial = study.ask(SPACE)
            page, arm = abs(math.log2(trial.params["page"] / 64)), trial.params["arm"] != "aligned"
            study.tell(trial, [trial.params["budget"] - 3 * page - 4 * arm, trial.params["budget"] + 3 * page + 4 * arm])
        found.append(sum(trial.params["page"] == 64 and trial.params["arm"] == "aligned" for trial in study.trials))
    assert np.mean(found) >= 6


def test_parameters_that_it_does_not_know_are_drawn_at_random() -> None:
    study = optuna.create_study(direction="maximize", sampler=OrdinalGpSampler(SPACE, seed=0))
    values = {study.ask({**SPACE, "extra": IntDistribution(1, 1000)}).params["extra"] for _ in range(5)}
    assert len(values) > 1
