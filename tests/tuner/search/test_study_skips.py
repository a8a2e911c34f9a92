"""Trials that are not tried, or given up: recorded as PRUNED with the reason, never with a value, and no engine is started for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState as OptunaState

from storage.records import Trial, TrialState
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, config_of, configuration_of
from tuner.core.contract import EngineSettings, WindowResult
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.search.plan import plan_search
from tuner.search.study import StudyRun
from tuner.setup.hardware import TPU_LIMITS
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study
from tuner.trials.progress import Progress

OVERLOADED = Configuration(32, 256, "page_aligned")  # would be the best
POISSON = "synthetic:input=64,output=8,requests=16,rate=50"


def no_room(message: str) -> FakeLauncher:
    """No engine with 32-token pages starts."""

    def refuse(settings: EngineSettings, _nth: int) -> None:
        if settings.block_size == 32:
            raise TrialFailed(FailureClass.OUT_OF_MEMORY, message)

    return FakeLauncher(on_open=refuse)


def by_state(bench: Workbench) -> dict[TrialState, list[Trial]]:
    found: dict[TrialState, list[Trial]] = {}
    for trial in bench.trials():
        found.setdefault(trial.state, []).append(trial)
    return found


def check_pruned(bench: Workbench, trial: Trial, note: str) -> str:
    """The reason that stands in the notes of a trial without any value, here and in Optuna."""
    assert (trial.state, trial.values, trial.error_class) == (TrialState.PRUNED, None, None)
    told = next(item for item in bench.optuna_trials() if item._trial_id == trial.optuna_trial_id)
    assert (told.state, told.values) == (OptunaState.PRUNED, None)
    reason = str(trial.notes[note])
    assert trial.error_message == f"{note}: {reason}" and any(reason in line for line in bench.lines)
    return reason


@pytest.mark.slow
def test_what_an_out_of_memory_dominates_is_skipped(bench: Workbench) -> None:
    """HBM is full whatever the page size: the second engine is not even started."""
    launcher = no_room("Ran out of memory in memory space hbm. Used 20G of 16G")
    outcome = bench.run(launcher)
    assert [settings.block_size for settings in launcher.opened] == [32]
    states = by_state(bench)
    assert {trial.block_size for trial in states[TrialState.FAIL]} == {32} and len(states[TrialState.FAIL]) == 4
    for trial in states[TrialState.PRUNED]:
        assert "ran out of HBM" in check_pruned(bench, trial, "skipped") and trial.block_size == 16
    assert len(states[TrialState.PRUNED]) == 4 and outcome.recommendation.status == "none"
    assert outcome.recommendation.body["reason"] == "none of 8 trials completed (out_of_memory, skipped)"


@pytest.mark.slow
def test_where_the_memory_is_unknown_another_page_size_is_tried(bench: Workbench) -> None:
    launcher = no_room("the kernel's out-of-memory killer ended the engine process during start")
    bench.run(launcher)
    assert [settings.block_size for settings in launcher.opened[:2]] == [32, 16]
    assert {state: len(trials) for state, trials in by_state(bench).items()} == {TrialState.FAIL: 4, TrialState.COMPLETE: 4}


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "large_first"), [(2, False), (1, True)])
def test_within_an_engine_a_larger_budget_of_the_arm_is_skipped_unless_it_has_run(bench: Workbench, seed: int, large_first: bool) -> None:
    small, large = Configuration(32, 128, "default"), Configuration(32, 256, "default")
    tried: list[Configuration] = []

    def warm_up(configuration: Configuration, _nth: int) -> None:
        tried.append(configuration)
        if configuration == small:
            raise EngineLost(FailureClass.OUT_OF_MEMORY, "no room")

    bench.run(FakeLauncher(on_warm_up=warm_up), seed=seed)
    assert (large in tried[: tried.index(small)]) is large_first
    assert bench.trial(small).state is TrialState.FAIL
    if large_first:
        assert bench.trial(large).state is TrialState.COMPLETE
    else:
        assert "ran out" in check_pruned(bench, bench.trial(large), "skipped") and large not in tried
    assert {bench.trial(item.twin).state for item in (small, large)} == {TrialState.COMPLETE}


@pytest.mark.slow
def test_a_resumed_study_remembers(bench: Workbench) -> None:
    """The first run ends with the out-of-memory; the next one judges by what is stored."""
    bench.run(no_room("Ran out of memory in memory space hbm."), trials=2, sampler="grid")
    resumed = FakeLauncher()
    bench.run(resumed, trials=6, sampler="grid", resume=True)
    failed, later = bench.trials()[:2], bench.trials()[2:]
    assert {trial.state for trial in failed} == {TrialState.FAIL} and len(later) == 6
    budget = failed[0].max_num_batched_tokens
    for trial in later:
        if trial.max_num_batched_tokens >= budget:
            assert f"trial {0 if trial.arm == failed[0].arm else 1} ran out of HBM" in check_pruned(bench, trial, "skipped")
        else:
            assert trial.state is TrialState.COMPLETE
    assert {trial.state for trial in later} == {TrialState.PRUNED, TrialState.COMPLETE}


def smem_study(**changes: Any) -> Any:
    """600 sequences x 4096 tokens: pages of 16 overflow half of SMEM, those of 32 do not."""
    return config_of(chunk_budgets=[1024], max_num_seqs=600, max_model_len=4096, **changes)


@pytest.mark.slow
def test_a_page_size_beyond_the_limits_is_said_before_and_skipped(bench: Workbench) -> None:
    setup = prepare_study(smem_study(logdir=str(bench.folder / "profiles"), storage=bench.url), TPU_LIMITS["TPU v6e"])
    assert [warning for warning in setup.warnings if "page_sizes: 16 makes block tables of 614400 bytes" in warning]
    launcher = FakeLauncher()
    progress = Progress(listener=lambda _progress, line: bench.lines.append(line))
    StudyRun(plan_search(setup, bench.storage), bench.storage, launcher, progress).run()
    assert 16 not in {settings.block_size for settings in launcher.opened}
    skipped = by_state(bench)[TrialState.PRUNED]
    assert {trial.block_size for trial in skipped} == {16} and len(skipped) == 2
    assert all("SMEM" in check_pruned(bench, trial, "skipped") for trial in skipped)
    assert len(by_state(bench)[TrialState.COMPLETE]) == 2


def test_limits_concern_tpus_alone() -> None:
    assert prepare_study(smem_study()).warnings == ()


def test_where_nothing_can_run_the_input_is_bad() -> None:
    with pytest.raises(BadInput, match=r"page_sizes: 16 makes block tables .* use pages of at least 32") as caught:
        prepare_study(smem_study(page_sizes=[16]), TPU_LIMITS["TPU v6e"])
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="num_gpu_blocks: 4 pages of 16"):
        prepare_study(config_of(num_gpu_blocks=4))


def stopped(result: WindowResult) -> WindowResult:
    return replace(result, stopped="saturated after 3.0 s")


@pytest.mark.slow
def test_a_configuration_that_cannot_keep_up_is_given_up(bench: Workbench) -> None:
    def hook(configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
        return stopped(result) if configuration == OVERLOADED else result

    outcome = bench.run(FakeLauncher(on_measure=hook))
    trial = bench.trial(OVERLOADED)
    assert "could not keep up" in check_pruned(bench, trial, "infeasible")
    assert [(window.valid, window.invalid_reason) for window in bench.windows(trial)] == [(False, "saturated")] * 2
    settings = outcome.recommendation.body["settings"]
    assert Configuration(settings["block_size"], settings["max_num_batched_tokens"], settings["arm"]) != OVERLOADED
    assert sum(item.state is TrialState.COMPLETE for item in bench.trials()) == 7


@pytest.mark.slow
def test_one_saturated_window_among_three_is_left_out(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        return stopped(result) if configuration == OVERLOADED and nth == 0 else result

    bench.run(FakeLauncher(on_measure=hook))
    trial = bench.trial(OVERLOADED)
    assert trial.state is TrialState.COMPLETE and trial.notes["rounds"] == 2


@pytest.mark.slow
def test_with_one_round_a_saturated_window_decides(bench: Workbench) -> None:
    bench.run(FakeLauncher(on_measure=lambda item, _nth, result: stopped(result) if item == OVERLOADED else result), rounds=1)
    assert "in 1 windows" in check_pruned(bench, bench.trial(OVERLOADED), "infeasible")


@pytest.mark.parametrize(
    ("workload", "slos", "expected"), [(POISSON, ["ttft_p99_ms<=500"], True), (POISSON, [], False), ("demo", ["ttft_p99_ms<=500"], False)]
)
def test_only_an_open_loop_with_slos_is_stopped_early(workload: str, slos: list[str], expected: bool) -> None:
    assert prepare_study(config_of(workload=workload, slos=slos)).plan.stop_when_saturated is expected


@pytest.mark.slow
def test_a_crash_between_the_two_databases_is_settled(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial was pruned in our tables, and the process died before Optuna heard of it."""
    from tuner.trials.optuna_record import OptunaRecord

    with monkeypatch.context() as patch:
        patch.setattr(OptunaRecord, "prune", lambda _self, _trial_id: None)
        bench.run(no_room("Ran out of memory in memory space hbm."))
    assert OptunaState.RUNNING in {item.state for item in bench.optuna_trials()}
    bench.run(FakeLauncher(), resume=True)
    for trial in by_state(bench)[TrialState.PRUNED]:
        check_pruned(bench, trial, "skipped")
    assert {configuration_of(trial).block_size for trial in by_state(bench)[TrialState.PRUNED]} == {16}
