"""The plan says what a run then does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.records import Study, StudyState
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, config_of
from tuner.launchers.local import LocalLauncher
from tuner.launchers.serve import ServeLauncher
from tuner.launchers.table import TableLauncher
from tuner.search.plan import (
    ASSUMED_WARM_UP_S,
    ASSUMED_WINDOW_S,
    LAUNCHERS_WITHOUT_LIVE_SETTINGS,
    Costs,
    costs_from_studies,
    plan_at,
    plan_search,
)
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "grid"),
        ({"trials": 8}, "grid"),
        ({"trials": 7}, "ordinal"),
        ({"time_budget": 1000}, "grid"),
        ({"time_budget": 60}, "ordinal"),
        ({"sampler": "gp"}, "gp"),
        ({"sampler": "grid", "trials": 3}, "grid"),
    ],
)
def test_auto_takes_the_grid_where_it_fits(changes: dict[str, Any], expected: str) -> None:
    assert plan_search(prepare_study(config_of(**changes))).sampler == expected


def best_is_no_baseline(configuration: Configuration) -> float:
    """The nearest to vLLM's defaults is the largest budget: it is then a finalist of its own. Nothing ties."""
    return 1000 - 2 * configuration.max_num_batched_tokens + 5 * configuration.block_size


@pytest.mark.slow
def test_the_plan_is_what_a_run_does(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(value=best_is_no_baseline))
    plan = plan_search(prepare_study(config_of()))
    assert (plan.trials, plan.to_json()["cells"], plan.engine_starts, plan.windows) == (8, 4, outcome.engine_starts, outcome.windows)
    assert [(group.block_size, group.compiled_max, group.configurations) for group in plan.groups] == [(32, 256, 4), (16, 256, 4)]


@pytest.mark.slow
def test_a_grid_cut_short_plans_only_the_engines_it_reaches(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(value=best_is_no_baseline), sampler="grid", trials=4)
    plan = plan_search(prepare_study(config_of(sampler="grid", trials=4)))
    assert [group.block_size for group in plan.groups] == [32]
    assert (plan.engine_starts, plan.windows) == (outcome.engine_starts, outcome.windows)


def test_a_launcher_without_live_settings_starts_an_engine_for_each_configuration() -> None:
    plan = plan_search(prepare_study(config_of(launcher="serve")))
    assert plan.engine_starts == 8 + 3 and {group.configurations for group in plan.groups} == {1}


def test_the_word_for_it_is_what_the_launchers_say() -> None:
    launchers = (LocalLauncher, ServeLauncher, TableLauncher)
    without = {launcher.name for launcher in launchers if not {"arm", "max_num_batched_tokens"} <= launcher.live_fields}
    assert without == LAUNCHERS_WITHOUT_LIVE_SETTINGS


def test_the_estimate_is_the_sum_of_its_costs() -> None:
    plan = plan_at(prepare_study(config_of()), Costs(10, 2, 1, "test"))
    assert plan.estimate_s == 5 * 10 + 11 * 2 + 33 * 1
    assert plan_at(prepare_study(config_of(time_budget=50)), Costs(10, 2, 1, "test")).estimate_s == 50


def test_the_plan_is_json() -> None:
    document = plan_search(prepare_study(config_of())).to_json()
    assert json.loads(json.dumps(document)) == document
    assert "assumed" in document["costs"]["source"]
    assert document["vllm_defaults"] == {"block_size": 32, "max_num_batched_tokens": 2048, "in_the_space": False}
    with_it = plan_search(prepare_study(config_of(chunk_budgets=[512, 2048]))).to_json()
    assert with_it["vllm_defaults"]["in_the_space"] and with_it["baseline"] == "default p32 b2048"


def test_costs_come_from_the_newest_study_that_says_enough() -> None:
    spent = {"start": 30.0, "warm_up": 16.0, "measure": 48.0}

    def study(number: int, state: StudyState, cost: dict[str, float]) -> Study:
        return Study(f"s{number}", "m", {}, "o", id=number, state=state, engine_starts=3, cost=cost)

    studies = [study(1, StudyState.INTERRUPTED, spent), study(2, StudyState.COMPLETE, {}), study(3, StudyState.COMPLETE, spent)]
    counts = dict.fromkeys((1, 2, 3), 8)
    assert costs_from_studies(studies, dict.fromkeys((1, 2, 3), 24), counts) == Costs(10.0, 2.0, 2.0, "study 's3'")
    assert costs_from_studies(studies[:2], dict.fromkeys((1, 2), 24), counts) is None


@pytest.mark.parametrize(("rate", "window_s"), [("0.5", 60), ("2", 15), ("inf", ASSUMED_WINDOW_S)])
def test_an_estimate_knows_when_the_last_request_arrives(rate: str, window_s: float) -> None:
    plan = plan_search(prepare_study(config_of(workload=f"synthetic:input=32,output=4,requests=30,rate={rate}")))
    assert plan.costs.window_s == pytest.approx(window_s)
    assert plan.costs.warm_up_s == pytest.approx(max(window_s, ASSUMED_WARM_UP_S))
    assert plan.estimate_s >= 20 * plan.costs.window_s
