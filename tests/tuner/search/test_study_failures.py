"""Engines that crash, hang, do not start, or compile inside a window: one trial fails, with its class; the study goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.trial import TrialState as OptunaState

from storage.records import Stage, StudyState, TrialState
from tests.tuner.fake_engine import FakeLauncher, crash, recompiled
from tests.tuner.workbench import Workbench, configuration_of, states
from tuner.core.contract import EngineSettings, WindowResult
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.setup.space import Configuration

BAD = Configuration(32, 256, "page_aligned")  # would be the best
SEED_OF_THREE_LOSSES = 3  # draws three of the large budgets before any small one


def complete_and_failed(bench: Workbench) -> tuple[int, int]:
    found = states(bench.trials())
    return found.count(TrialState.COMPLETE), found.count(TrialState.FAIL)


@pytest.mark.slow
def test_an_engine_that_crashes_is_started_once_more_for_the_rest(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration == BAD and nth == 1:
            raise crash()
        return result

    launcher = FakeLauncher(on_measure=hook)
    outcome = bench.run(launcher)
    failed = bench.trial(BAD)
    assert (failed.state, failed.error_class, failed.log_excerpt) == (TrialState.FAIL, "engine_crash", "last line of the log")
    assert failed.values is None
    assert complete_and_failed(bench) == (7, 1)
    assert [settings.block_size for settings in launcher.opened[:3]] == [32, 32, 16]
    assert all(len(bench.windows(trial)) == 3 for trial in bench.trials() if trial.state is TrialState.COMPLETE)
    assert outcome.study.state is StudyState.COMPLETE and launcher.running == 0


@pytest.mark.slow
def test_the_failed_trial_has_no_influence(bench: Workbench) -> None:
    """It had two windows with the best numbers of all before it crashed."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration == BAD and nth == 2:
            raise crash()
        return result

    outcome = bench.run(FakeLauncher(on_measure=hook))
    assert len(bench.windows(bench.trial(BAD))) == 2
    settings = outcome.recommendation.body["settings"]
    assert Configuration(settings["block_size"], settings["max_num_batched_tokens"], settings["arm"]) != BAD
    assert BAD not in {configuration_of(trial) for trial in bench.trials(Stage.CONFIRM)}
    told = {trial._trial_id: trial for trial in bench.optuna_trials()}
    optuna_id = bench.trial(BAD).optuna_trial_id
    assert optuna_id is not None and told[optuna_id].state is OptunaState.FAIL and told[optuna_id].values is None


@pytest.mark.slow
def test_three_lost_engines_without_a_window_in_between_end_the_group_and_not_the_study(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration.block_size == 32:
            raise crash()
        return result

    launcher = FakeLauncher(on_measure=hook)
    bench.run(launcher)
    assert [settings.block_size for settings in launcher.opened].count(32) == 3
    assert complete_and_failed(bench) == (4, 4)
    assert {trial.error_class for trial in bench.trials() if trial.state is TrialState.FAIL} == {"engine_crash"}
    messages = [trial.error_message or "" for trial in bench.trials() if trial.state is TrialState.FAIL]
    assert sum(message.startswith("not measured: 3 engines were lost in a row") for message in messages) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_two_configurations_that_cost_the_engine_leave_the_others_of_their_page_size_alone(bench: Workbench, seed: int) -> None:
    """Whatever the order: one bad budget in both arms must not end a page size."""
    bad = {Configuration(32, 256, "default"), Configuration(32, 256, "page_aligned")}

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration in bad:
            raise crash()
        return result

    bench.run(FakeLauncher(on_measure=hook), seed=seed)
    assert {configuration_of(trial) for trial in bench.trials() if trial.state is TrialState.FAIL} == bad
    assert complete_and_failed(bench) == (6, 2)


@pytest.mark.slow
def test_who_was_not_measured_when_others_ran_out_of_memory_teaches_nothing(bench: Workbench) -> None:
    """Larger budgets ran out and took the engines with them. The small ones never ran: were they stored as out of memory, the small ones of
    every other page size would be skipped."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration.block_size == 32 and configuration.max_num_batched_tokens > 128:
            raise EngineLost(FailureClass.OUT_OF_MEMORY, "RESOURCE_EXHAUSTED", "Ran out of memory in memory space hbm")
        return result

    bench.run(FakeLauncher(on_measure=hook), chunk_budgets=[128, 256, 512], seed=SEED_OF_THREE_LOSSES)
    untried = [trial for trial in bench.trials() if (trial.error_message or "").startswith("not measured")]
    assert untried and {trial.error_class for trial in untried} == {"engine_crash"}
    small = [trial for trial in bench.trials() if trial.max_num_batched_tokens == 128 and trial.block_size == 16]
    assert len(small) == 2 and all(trial.state is TrialState.COMPLETE for trial in small)


@pytest.mark.slow
def test_crashes_far_apart_cost_one_trial_each(bench: Workbench) -> None:
    crashes = {Configuration(32, 128, "default"): 0, Configuration(32, 128, "page_aligned"): 2}

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if crashes.get(configuration) == nth:
            raise crash()
        return result

    bench.run(FakeLauncher(on_measure=hook), rounds=4)
    assert complete_and_failed(bench) == (6, 2)
    assert all(len(bench.windows(trial)) == 4 for trial in bench.trials() if trial.state is TrialState.COMPLETE)


@pytest.mark.slow
@pytest.mark.parametrize("failure", [FailureClass.STARTUP, FailureClass.OUT_OF_MEMORY, FailureClass.TIMEOUT])
def test_an_engine_that_does_not_start_fails_its_page_size_alone(bench: Workbench, failure: FailureClass) -> None:
    def hook(settings: EngineSettings, nth: int) -> None:
        if settings.block_size == 32:
            raise TrialFailed(failure, "no room for 512 pages", "RESOURCE_EXHAUSTED")

    outcome = bench.run(FakeLauncher(on_open=hook))
    failed = [trial for trial in bench.trials() if trial.state is TrialState.FAIL]
    assert {trial.block_size for trial in failed} == {32} and len(failed) == 4
    assert {(trial.error_class, trial.log_excerpt) for trial in failed} == {(failure.value, "RESOURCE_EXHAUSTED")}
    assert outcome.recommendation.body["settings"]["block_size"] == 16
    assert outcome.completed_trials == 6


@pytest.mark.slow
def test_nothing_starts_at_all(bench: Workbench) -> None:
    def hook(settings: EngineSettings, nth: int) -> None:
        raise TrialFailed(FailureClass.STARTUP, "vLLM cannot be imported")

    outcome = bench.run(FakeLauncher(on_open=hook))
    assert outcome.completed_trials == 0
    assert outcome.recommendation.status == "none" and "startup" in outcome.recommendation.body["reason"]
    assert bench.trials(Stage.CONFIRM) == []


@pytest.mark.slow
def test_a_window_in_which_something_was_compiled_is_repeated(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        return recompiled(result) if configuration == BAD and nth < 2 else result

    bench.run(FakeLauncher(on_measure=hook))
    windows = sorted(bench.windows(bench.trial(BAD)), key=lambda item: item.id)
    assert [(window.round, window.valid, window.invalid_reason) for window in windows] == [
        (0, False, "recompiled"),
        (0, False, "recompiled"),
        (0, True, None),
        (1, True, None),
        (2, True, None),
    ]


@pytest.mark.slow
def test_a_window_that_always_compiles_is_tried_three_times_a_round(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        return recompiled(result) if configuration == BAD else result

    outcome = bench.run(FakeLauncher(on_measure=hook))
    failed = bench.trial(BAD)
    assert len(bench.windows(failed)) == 9 and not any(window.valid for window in bench.windows(failed))
    assert (failed.state, failed.error_class) == (TrialState.FAIL, "invalid_measurement")
    assert failed.error_message == "no valid measurement: 9 x recompiled"
    assert BAD not in {configuration_of(trial) for trial in bench.trials(Stage.CONFIRM)}
    assert outcome.study.state is StudyState.COMPLETE


@pytest.mark.slow
def test_a_request_failure_fails_one_trial_and_keeps_the_engine(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration == BAD:
            raise TrialFailed(FailureClass.REQUEST_FAILED, "all 20 requests failed")
        return result

    launcher = FakeLauncher(on_measure=hook)
    bench.run(launcher)
    assert bench.trial(BAD).error_class == "request_failed"
    assert [settings.block_size for settings in launcher.opened[:2]] == [32, 16]


@pytest.mark.slow
def test_a_timeout_that_costs_the_engine_is_a_timeout(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration == BAD:
            raise EngineLost(FailureClass.TIMEOUT, "engine measure took more than 600 s")
        return result

    bench.run(FakeLauncher(on_measure=hook))
    assert bench.trial(BAD).error_class == "timeout"
    assert complete_and_failed(bench) == (7, 1)


@pytest.mark.slow
def test_a_crash_while_warming_up_fails_that_configuration(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        if configuration == BAD:
            raise crash()

    bench.run(FakeLauncher(on_warm_up=hook))
    assert bench.trial(BAD).error_class == "engine_crash" and bench.windows(bench.trial(BAD)) == []
    assert complete_and_failed(bench) == (7, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "failure"), [(BadInput("no such row in the table"), "invalid_config"), (KeyError("surprise"), "internal")]
)
def test_whatever_a_launcher_raises_fails_one_trial(bench: Workbench, error: Exception, failure: str) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration == BAD:
            raise error
        return result

    bench.run(FakeLauncher(on_measure=hook))
    assert bench.trial(BAD).error_class == failure
    assert complete_and_failed(bench) == (7, 1)


@pytest.mark.slow
def test_a_profile_that_fails_costs_no_trial(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        raise crash("the engine hung while profiling")

    launcher = FakeLauncher(on_profile=hook)
    outcome = bench.run(launcher, profile="finalists")
    assert set(states(bench.trials(Stage.CONFIRM))) == {TrialState.COMPLETE}
    profiles = bench.storage.list_profiles(study_id=outcome.study.id)
    assert {(profile.status, profile.quality["error_class"]) for profile in profiles} == {("missing", "engine_crash")}
    assert launcher.running == 0


@pytest.mark.slow
def test_a_finalist_that_fails_when_started_cold_gives_way_to_the_next_best(bench: Workbench) -> None:
    """The search has great numbers for it; the confirmation is what counts."""

    def hook(settings: EngineSettings, nth: int) -> None:
        if settings.block_size == 32 and nth > 0:
            raise TrialFailed(FailureClass.OUT_OF_MEMORY, "no room")

    outcome = bench.run(FakeLauncher(on_open=hook))
    tried = {configuration_of(trial): trial.state for trial in bench.trials(Stage.CONFIRM)}
    best_of_the_other_size = Configuration(16, 256, "page_aligned")
    assert [item for item, state in tried.items() if state is TrialState.COMPLETE] == [best_of_the_other_size]
    settings = outcome.recommendation.body["settings"]
    assert Configuration(settings["block_size"], settings["max_num_batched_tokens"], settings["arm"]) == best_of_the_other_size


@pytest.mark.slow
@pytest.mark.parametrize(("failure", "tried"), [(FailureClass.OUT_OF_MEMORY, 5), (FailureClass.STARTUP, 3), (FailureClass.TIMEOUT, 3)])
def test_where_nothing_starts_cold_a_few_are_tried_and_nothing_is_recommended(bench: Workbench, failure: FailureClass, tried: int) -> None:
    """The best, its other arm, and three more; one more where settings are hardly the reason, as each may take its time-out."""

    def hook(settings: EngineSettings, nth: int) -> None:
        if nth > 0:
            raise TrialFailed(failure, "no room")

    outcome = bench.run(FakeLauncher(on_open=hook))
    assert states(bench.trials(Stage.CONFIRM)) == [TrialState.FAIL] * tried
    assert outcome.recommendation.status == "none" and failure.value in outcome.recommendation.body["reason"]
    again = FakeLauncher()
    bench.run(again, resume=True)
    assert again.opened == [], "nothing is left to do"


@pytest.mark.slow
def test_finalists_that_miss_an_slo_when_started_cold_give_way_to_the_next_best(bench: Workbench) -> None:
    """In the search 32 pages of the large budget just kept to it."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        slow = configuration.cell == (32, 256) and nth >= 3  # the search's three windows were fine
        value = result.reported_metrics["total_token_throughput"]
        return replace(result, reported_metrics={"total_token_throughput": value, "ttft_p99_ms": 510.0 if slow else 490.0})

    outcome = bench.run(FakeLauncher(on_measure=hook), slos=["ttft_p99_ms<=500"])
    assert outcome.recommendation.status == "recommended"
    assert outcome.recommendation.body["evidence"]["stage"] == "confirm"
    settings = outcome.recommendation.body["settings"]
    assert (settings["block_size"], settings["max_num_batched_tokens"], settings["arm"]) == (32, 128, "page_aligned")


@pytest.mark.slow
def test_a_drifting_machine_takes_its_rounds_out_of_every_value(bench: Workbench) -> None:
    """From the fourth of seven rounds on the machine is a tenth slower; the earlier, shorter side goes."""
    seen: dict[int, int] = {}

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        seen[configuration.block_size] = nth
        slow = 0.9 if nth >= 3 else 1.0
        wobble = 1 + 0.001 * (nth % 2)
        value = result.reported_metrics["total_token_throughput"] * slow * wobble
        return WindowResult((), (), result.started_at, 1.0, reported_metrics={"total_token_throughput": value})

    bench.run(FakeLauncher(on_measure=hook), rounds=7, page_sizes=[32], chunk_budgets=[256])
    for trial in bench.trials():
        assert {window.round for window in bench.windows(trial) if window.invalid_reason == "drifted"} == {0, 1, 2}
        assert trial.notes["rounds"] == 4
