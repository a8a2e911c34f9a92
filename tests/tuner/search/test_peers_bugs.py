"""Bugs that were seen in other tuners (../shared/peers.md): each is a test here, by its number there.

4 (a metric under a wrong key) is refused by tuner.metrics.window; 5 (orphans) is tests/tuner/cli/test_killed.py and tests/tuner/engine.
"""

from __future__ import annotations

import pytest
from optuna.trial import TrialState as OptunaState

from storage.records import Stage, TrialState
from tests.tuner.fake_engine import FakeLauncher, value_of
from tests.tuner.workbench import Workbench, config_of, configuration_of, states
from tuner.core.contract import EngineSettings, Json, WindowResult
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.search.plan import plan_search
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study


@pytest.mark.slow
def test_bug_1_an_out_of_memory_trial_never_becomes_the_best(bench: Workbench) -> None:
    """It scored 0.0 there and won, because latency was minimised."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration.block_size == 16:
            raise TrialFailed(FailureClass.OUT_OF_MEMORY, "RESOURCE_EXHAUSTED")
        return result

    outcome = bench.run(FakeLauncher(on_measure=hook), objective="ttft_p99_ms")
    failed = [trial for trial in bench.trials() if trial.block_size == 16]
    assert {(trial.state, trial.error_class) for trial in failed} == {(TrialState.FAIL, "out_of_memory")}
    assert all(trial.values is None for trial in failed)
    optuna_ids = {trial.optuna_trial_id for trial in failed}
    assert {trial.state for trial in bench.optuna_trials() if trial._trial_id in optuna_ids} == {OptunaState.FAIL}
    assert outcome.recommendation.body["settings"]["block_size"] == 32


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_bug_2_resume_adds_exactly_n(bench: Workbench, sampler: str) -> None:
    """`resume --n_trials 2` ran seven there, without an engine, and wrote zeros."""
    bench.run(sampler=sampler, trials=3)
    assert len(bench.trials()) == 3
    launcher = FakeLauncher()
    bench.run(launcher, sampler=sampler, trials=2, resume=True)
    assert len(bench.trials()) == 5
    assert all(trial.values and trial.values["throughput"] > 0 for trial in bench.trials())
    new = {configuration_of(trial) for trial in bench.trials()[3:]}
    assert all(launcher.measured.count(configuration) >= 3 for configuration in new)


@pytest.mark.slow
def test_bug_2_resume_adds_the_same_number_again(bench: Workbench) -> None:
    """The run was finished, so there is nothing left of it: two are two more."""
    bench.run(sampler="grid", trials=2)
    bench.run(sampler="grid", trials=2, resume=True)
    assert len(bench.trials()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_bug_2_the_same_command_finishes_an_interrupted_run_and_adds_nothing(bench: Workbench, sampler: str) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if len(launcher.measured) == 14:
            raise KeyboardInterrupt
        return result

    launcher = FakeLauncher(on_measure=hook)
    with pytest.raises(Exception, match="--resume"):
        bench.run(launcher, sampler=sampler, trials=6)
    bench.run(sampler=sampler, trials=6, resume=True)
    assert len(bench.trials()) == 6
    assert set(states(bench.trials())) == {TrialState.COMPLETE}


@pytest.mark.slow
def test_bug_2_another_number_after_an_interruption_is_that_many(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if len(launcher.measured) == 13:  # four trials are done
            raise KeyboardInterrupt
        return result

    launcher = FakeLauncher(on_measure=hook)
    with pytest.raises(Exception, match="--resume"):
        bench.run(launcher, sampler="grid", trials=8)
    finished = states(bench.trials()).count(TrialState.COMPLETE)
    bench.run(sampler="grid", trials=1, resume=True)
    assert states(bench.trials()).count(TrialState.COMPLETE) == finished + 1


def test_bug_3_the_grid_is_never_empty_and_holds_the_baseline() -> None:
    for pages, budgets in (([16], [128]), ([16, 32], [128]), ([128], [512, 256])):
        setup = prepare_study(config_of(page_sizes=pages, chunk_budgets=budgets))
        plan = plan_search(setup)
        assert plan.sampler == "grid" and plan.trials == len(setup.space.configurations) == 2 * len(pages) * len(budgets)
        assert setup.space.configurations[0] == setup.space.baseline


@pytest.mark.slow
def test_bug_3_slos_are_used(bench: Workbench) -> None:
    """Stored and never looked at there. Here: no configuration meets it, so nothing is recommended."""
    outcome = bench.run(slos=["ttft_p99_ms<=1"])
    assert outcome.recommendation.status == "none"
    assert "no configuration meets ttft_p99_ms<=1" in outcome.recommendation.body["reason"]
    assert bench.trials(Stage.CONFIRM) == []


@pytest.mark.slow
def test_bug_4_an_objective_that_was_not_measured_is_no_zero(bench: Workbench) -> None:
    """p95 was always 0.0 there. This engine reports no TPOT."""
    outcome = bench.run(objective="tpot_p95_ms")
    assert {(trial.state, trial.error_class) for trial in bench.trials()} == {(TrialState.FAIL, "invalid_measurement")}
    assert outcome.recommendation.status == "none" and outcome.completed_trials == 0


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grid", "random", "tpe", "nsga2"])
def test_bug_6_no_configuration_runs_twice(bench: Workbench, sampler: str) -> None:
    """Two of eight trials were repetitions there. Here samplers are asked for more than there is."""
    bench.run(sampler=sampler, trials=50, rounds=1)
    found = [configuration_of(trial) for trial in bench.trials()]
    assert len(found) == len(set(found)) == 8


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "ordinal"])
def test_bug_6_nor_when_a_run_ended_between_the_two_arms_of_a_cell(bench: Workbench, sampler: str) -> None:
    """Three trials are a cell and a half: what is proposed next may be the other arm of what ran already."""
    bench.run(sampler=sampler, trials=3, rounds=1)
    for trials in (1, 3, 1):
        bench.run(sampler=sampler, trials=trials, rounds=1, resume=True)
    found = [configuration_of(trial) for trial in bench.trials()]
    assert len(found) == len(set(found)) == 8


@pytest.mark.slow
def test_bug_7_a_page_size_that_the_platform_changed_is_not_measured_under_the_asked_name(bench: Workbench) -> None:
    """vLLM on TPU may override block_size: two "different" trials were the same engine."""

    def effective(settings: EngineSettings) -> Json:
        return {"block_size": 32, "max_num_batched_tokens": settings.max_num_batched_tokens}

    launcher = FakeLauncher(effective=effective)
    bench.run(launcher)
    changed = [trial for trial in bench.trials() if trial.block_size == 16]
    assert {(trial.state, trial.error_class) for trial in changed} == {(TrialState.FAIL, "invalid_config")}
    assert {trial.error_message for trial in changed} == {
        "asked for block_size 16 but the engine runs 32: the platform changed it; ask for 32"
    }
    assert not any(bench.windows(trial) for trial in changed)
    assert set(states([trial for trial in bench.trials() if trial.block_size == 32])) == {TrialState.COMPLETE}


@pytest.mark.slow
def test_bug_7_the_effective_configuration_is_stored_beside_the_requested(bench: Workbench) -> None:
    bench.run()
    trial = bench.trials()[0]
    assert trial.requested["block_size"] == trial.effective["block_size"] == trial.block_size
    assert trial.effective["max_num_batched_tokens"] == 256


@pytest.mark.slow
def test_bug_8_one_failing_configuration_does_not_end_the_sweep(bench: Workbench) -> None:
    bad = Configuration(32, 256, "default")  # the very first

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration == bad:
            raise BadInput("this one is impossible")
        return result

    bench.run(FakeLauncher(on_measure=hook))
    assert states(bench.trials()).count(TrialState.COMPLETE) == 7
    assert bench.trial(bad).state is TrialState.FAIL
    assert all(trial.values == {"throughput": value_of(configuration_of(trial))} for trial in bench.trials() if trial.values)
