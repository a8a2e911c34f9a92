"""A study from beginning to end on a fake engine: what is measured, in which engine, in which order, and what is stored of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from optuna.trial import TrialState as OptunaState

from storage.records import Stage, StudyState, TrialState
from tests.tuner.fake_engine import FakeLauncher, value_of
from tests.tuner.workbench import FinishedStudy, Workbench, config_of, configuration_of, states
from tuner.core.contract import ARM_DEFAULT, WindowResult
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study

BEST = Configuration(32, 256, "page_aligned")


def test_a_grid_measures_every_configuration_once_and_recommends_the_best(grid: FinishedStudy) -> None:
    trials, outcome = grid.bench.trials(), grid.outcome
    assert [configuration_of(trial) for trial in trials] == list(prepare_study(config_of()).space.configurations)
    assert set(states(trials)) == {TrialState.COMPLETE}
    assert all(trial.values == {"throughput": value_of(configuration_of(trial))} for trial in trials)
    assert outcome.study.state is StudyState.COMPLETE
    assert outcome.recommendation.body["settings"]["block_size"] == 32
    assert outcome.recommendation.body["settings"]["arm"] == "page_aligned"


def test_one_engine_per_page_size_and_one_per_finalist(grid: FinishedStudy) -> None:
    search, finalists = grid.launcher.opened[:2], grid.launcher.opened[2:]
    assert [settings.block_size for settings in search] == [32, 16]
    assert {settings.max_num_batched_tokens for settings in search} == {256}, "compiled for the largest budget"
    assert [(settings.block_size, settings.max_num_batched_tokens) for settings in finalists] == [(32, 256), (32, 256)]
    assert grid.outcome.engine_starts == grid.outcome.study.engine_starts == 4
    assert grid.launcher.running == 0 and grid.launcher.closed


def test_vllms_defaults_are_measured_first(grid: FinishedStudy) -> None:
    first = grid.bench.trials()[0]
    assert (first.arm, first.block_size, first.max_num_batched_tokens) == (ARM_DEFAULT, 32, 256)


@pytest.mark.slow
def test_rounds_are_interleaved_in_an_order_that_the_seed_gives(grid: FinishedStudy, bench: Workbench) -> None:
    launcher, again, other = grid.launcher, FakeLauncher(), FakeLauncher()
    bench.run(again, study="t")
    bench.run(other, study="u", seed=7)
    rounds = [launcher.measured[start : start + 4] for start in range(0, 12, 4)]  # of the first page size
    assert all(len(set(order)) == 4 for order in rounds), "every configuration is in every round"
    assert all(first.twin == second for order in rounds for first, second in (order[:2], order[2:])), "arms of a cell side by side"
    assert len(set(map(tuple, rounds))) > 1, "rounds differ in their order"
    assert launcher.measured == again.measured
    assert launcher.measured != other.measured


def test_windows_carry_round_position_and_engine(grid: FinishedStudy) -> None:
    bench = grid.bench
    group = [trial for trial in bench.trials() if trial.block_size == 32]
    windows = sorted((window for trial in group for window in bench.windows(trial)), key=lambda item: item.id)
    assert [(window.round, window.position) for window in windows] == [(number, position) for number in range(3) for position in range(4)]
    assert {window.details["engine_start"] for window in windows} == {1}


def test_finalists_are_the_best_and_its_opposite_arm_measured_afresh(grid: FinishedStudy) -> None:
    bench = grid.bench
    finalists = bench.trials(Stage.CONFIRM)
    assert {configuration_of(trial) for trial in finalists} == {BEST, BEST.twin}
    assert all(len(bench.windows(trial)) == 3 for trial in finalists)
    assert all(trial.requested["compiled_max_num_batched_tokens"] == 256 for trial in finalists)


@pytest.mark.slow
def test_a_finalist_is_compiled_for_its_own_budget(bench: Workbench) -> None:
    def prefer_small(configuration: Configuration) -> float:
        return 1000 - configuration.max_num_batched_tokens

    launcher = FakeLauncher(value=prefer_small)
    bench.run(launcher)
    assert {settings.max_num_batched_tokens for settings in launcher.opened[:2]} == {256}
    budgets = [settings.max_num_batched_tokens for settings in launcher.opened[2:]]
    assert budgets == [128, 128, 128, 256], "the best, its opposite arm, what ties with it, the nearest to vLLM's defaults"


@pytest.mark.slow
def test_a_finalist_is_started_cold_also_where_the_search_ran_the_same_engine(bench: Workbench) -> None:
    launcher = FakeLauncher()
    bench.run(launcher, page_sizes=[32], chunk_budgets=[256])
    assert len(launcher.opened) == 3
    engines = {window.details["engine_start"] for trial in bench.trials(None) for window in bench.windows(trial)}
    assert engines == {1, 2, 3}


def test_optuna_holds_the_same_numbers(grid: FinishedStudy) -> None:
    bench = grid.bench
    told = {trial._trial_id: trial for trial in bench.optuna_trials()}
    assert len(told) == 8
    for trial in bench.trials():
        assert trial.optuna_trial_id is not None and trial.values is not None
        assert told[trial.optuna_trial_id].state is OptunaState.COMPLETE
        assert told[trial.optuna_trial_id].value == trial.values["throughput"]
        assert told[trial.optuna_trial_id].params == dict(configuration_of(trial).params)
    assert all(trial.optuna_trial_id is None for trial in bench.trials(Stage.CONFIRM))


def test_comparisons_are_stored_for_every_cell(grid: FinishedStudy) -> None:
    bench, outcome = grid.bench, grid.outcome
    stored = [item for item in bench.storage.list_comparisons(outcome.study.id) if item.metric == "total_token_throughput"]
    assert {(item.block_size, item.max_num_batched_tokens) for item in stored} == {(16, 128), (16, 256), (32, 128), (32, 256)}
    assert {item.verdict for item in stored} == {"better"}
    assert all(item.ratio == pytest.approx(1.1) and item.pairs == 3 for item in stored)
    assert outcome.comparison.answer is not None and outcome.comparison.answer.answer == "on"


def test_the_best_and_its_opposite_arm_get_profiles(grid: FinishedStudy) -> None:
    bench, launcher, outcome = grid.bench, grid.launcher, grid.outcome
    numbers = {configuration_of(trial): trial.number for trial in bench.trials(Stage.CONFIRM)}
    assert set(launcher.profiled) == {
        f"s/trial-{numbers[BEST]:04d}-page_aligned-p32-b256",
        f"s/trial-{numbers[BEST.twin]:04d}-default-p32-b256",
    }
    profiles = bench.storage.list_profiles(study_id=outcome.study.id)
    assert sorted(profile.run for profile in profiles) == sorted(launcher.profiled)
    assert all((bench.folder / "profiles" / profile.run / "plugins/profile" / profile.session).is_dir() for profile in profiles)
    assert set(outcome.recommendation.body["evidence"]["profile_ids"]) == {profile.id for profile in profiles}


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "count"), [("none", 0), ("all", 8 + 2 * 2)])
def test_profile_says_what_is_profiled(bench: Workbench, profile: str, count: int) -> None:
    launcher = FakeLauncher()
    bench.run(launcher, profile=profile)
    assert len(launcher.profiled) == count


@pytest.mark.slow
def test_costs_are_kept_by_phase(bench: Workbench) -> None:
    ticks = iter(range(10**6))
    outcome = bench.run(now=lambda: float(next(ticks)), profile="finalists")
    assert set(outcome.study.cost) == {"start", "warm_up", "measure", "profile", "other", "wall"}
    assert all(outcome.study.cost[name] > 0 for name in ("start", "warm_up", "measure", "profile"))
    assert sum(value for name, value in outcome.study.cost.items() if name != "wall") == pytest.approx(outcome.study.cost["wall"])


@pytest.mark.slow
def test_a_single_arm_is_searched_without_a_comparison(bench: Workbench) -> None:
    outcome = bench.run(arms=["default"])
    assert {trial.arm for trial in bench.trials()} == {"default"}
    assert bench.storage.list_comparisons(outcome.study.id) == []
    assert outcome.comparison.answer is not None and outcome.comparison.answer.answer == "undecided"


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_sampler_runs_exactly_its_trials_and_no_configuration_twice(bench: Workbench, sampler: str) -> None:
    bench.run(sampler=sampler, trials=5)
    trials = bench.trials()
    assert len(trials) == 5 == len({configuration_of(trial) for trial in trials})
    assert configuration_of(trials[0]) == prepare_study(config_of()).space.baseline


@pytest.mark.slow
def test_a_sampler_measures_page_alignment_beside_the_default_of_its_cell(bench: Workbench) -> None:
    outcome = bench.run(sampler="random", trials=6)
    cells = Counter(trial.block_size * 1000 + trial.max_num_batched_tokens for trial in bench.trials())
    assert set(cells.values()) == {2}
    stored = [item for item in bench.storage.list_comparisons(outcome.study.id) if item.metric == "total_token_throughput"]
    assert len(stored) == 3 and all(item.pairs == 3 for item in stored)


@pytest.mark.slow
def test_a_late_twin_runs_beside_its_finished_baseline_in_rounds_of_their_own(bench: Workbench) -> None:
    bench.run(sampler="random", trials=7)
    alone = next(
        trial for trial in bench.trials() if all(configuration_of(trial).twin != configuration_of(other) for other in bench.trials())
    )
    assert alone.arm == ARM_DEFAULT
    outcome = bench.run(sampler="random", trials=1, resume=True)
    twin = bench.trial(configuration_of(alone).twin)
    rounds = {window.round for window in bench.windows(twin)}
    first = {window.round for window in bench.windows(alone)} - rounds
    assert len(rounds) == 3 == len(first), "the baseline has its own rounds and those of the twin"
    cell = next(
        item
        for item in bench.storage.list_comparisons(outcome.study.id)
        if (item.block_size, item.max_num_batched_tokens, item.metric) == (*configuration_of(alone).cell, "total_token_throughput")
    )
    assert cell.pairs == 3


@pytest.mark.slow
def test_proposals_prefer_the_page_size_whose_engine_runs(bench: Workbench) -> None:
    """Eight page sizes: asking blindly would start an engine for almost every cell."""
    launcher = FakeLauncher()
    sizes = [16, 32, 64, 128, 256, 512]
    bench.run(launcher, sampler="random", trials=16, page_sizes=sizes, chunk_budgets=[512, 1024, 2048, 4096], rounds=1)
    assert len(bench.trials()) == 16
    search = launcher.measured[:16]
    assert len(list(groupby(search, key=lambda item: item.block_size))) <= 6


@pytest.mark.slow
def test_a_launcher_without_live_settings_gets_an_engine_for_each_configuration(bench: Workbench) -> None:
    """`vllm serve` cannot change its arm or budget; interleaving would restart it for every window."""
    launcher = FakeLauncher(live_fields=frozenset())
    outcome = bench.run(launcher)
    assert len(launcher.opened) == 8 + 2
    assert [len(list(group)) for _, group in groupby(launcher.measured)] == [3] * 10
    search = [(settings.block_size, settings.max_num_batched_tokens) for settings in launcher.opened[:8]]
    assert search == [configuration.cell for configuration in prepare_study(config_of()).space.configurations]
    assert outcome.comparison.answer is not None and outcome.comparison.answer.answer == "undecided"
    assert {item.pairs for item in outcome.comparison.comparisons} == {0}, "arms in different engines are no pairs"
    assert all("different engines in all 3 rounds" in item.details["reason"] for item in outcome.comparison.comparisons)
    assert outcome.recommendation.body["settings"]["block_size"] == 32


@pytest.mark.slow
def test_slos_decide_what_is_recommended(bench: Workbench) -> None:
    """The faster, the later the first token: only slow configurations meet the limit."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        value = value_of(configuration)
        return replace(result, reported_metrics={"total_token_throughput": value, "ttft_p99_ms": value})

    outcome = bench.run(FakeLauncher(on_measure=hook), slos=["ttft_p99_ms<=145"])
    assert outcome.recommendation.status != "none"
    chosen = outcome.recommendation.body["settings"]
    assert value_of(Configuration(chosen["block_size"], chosen["max_num_batched_tokens"], chosen["arm"])) <= 145
    infeasible = [trial for trial in bench.trials() if trial.notes["feasible"] is False]
    assert infeasible
    by_id = {trial._trial_id: trial for trial in bench.optuna_trials()}
    for trial in infeasible:
        assert trial.optuna_trial_id is not None
        assert by_id[trial.optuna_trial_id].constraints["ttft_p99_ms<=145"] > 0


@pytest.mark.slow
def test_several_objectives_go_to_optuna_in_their_order(bench: Workbench) -> None:
    outcome = bench.run(objective="throughput,ttft_p99_ms", study="multi")
    by_id = {trial._trial_id: trial for trial in bench.optuna_trials("multi")}
    for trial in bench.trials(study="multi"):
        assert trial.values is not None and trial.optuna_trial_id is not None
        assert by_id[trial.optuna_trial_id].values == [trial.values["throughput"], trial.values["ttft_p99_ms"]]
    assert outcome.recommendation.status != "none"


@pytest.mark.slow
def test_what_misses_an_slo_ends_nobody_early(bench: Workbench) -> None:
    """The fast cells are infeasible: neither beside the feasible one in its engine nor in an earlier one may they count as its rivals."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        feasible = configuration.max_num_batched_tokens == 128
        noise = random.Random(f"{configuration}/{nth}").gauss(1, 0.02)  # the arms are alike, so no cell is decided soon
        metrics = {"total_token_throughput": (100 if feasible else 200) * noise, "ttft_p99_ms": 100.0 if feasible else 900.0}
        return replace(result, reported_metrics=metrics)

    settings: dict[str, Any] = {"page_sizes": [16], "chunk_budgets": [64, 128, 256], "rounds": "3-8", "profile": "none"}
    bench.run(FakeLauncher(on_measure=hook), sampler="random", trials=6, slos=["ttft_p99_ms<=500"], **settings)
    windows = {configuration_of(trial): len(bench.windows(trial)) for trial in bench.trials()}
    assert all(count >= 6 for configuration, count in windows.items() if configuration.max_num_batched_tokens == 128)
