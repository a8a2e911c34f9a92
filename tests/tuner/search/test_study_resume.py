"""Stopping and going on: Ctrl-C, a crash of ours, a spent time budget; then --resume measures exactly what is missing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest

from storage.base import NotFound, StorageUnavailable
from storage.records import Actor, Lease, Measurement, StudyState, TrialState
from storage.sql.storage import SqlStorage
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, states
from tuner.core.contract import WindowResult
from tuner.core.errors import BadInput, Interrupted, StorageError, StudyTaken
from tuner.setup.space import Configuration
from tuner.trials.optuna_record import LEASE_ATTRIBUTE


class Killed(BaseException):
    """As if the process had been killed: nothing of ours catches it."""


def stop_at(window: int, error: Callable[[], BaseException]) -> FakeLauncher:
    """An engine that is stopped from outside in the n-th window (from 1)."""
    count = 0

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        nonlocal count
        count += 1
        if count == window:
            raise error()
        return result

    return FakeLauncher(on_measure=hook)


def all_windows(bench: Workbench) -> list[Measurement]:
    return list(bench.storage.list_measurements(study_id=bench.storage.get_study("s").id))


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 14, 26])
def test_ctrl_c_keeps_what_was_measured_and_resume_measures_the_rest(bench: Workbench, window: int) -> None:
    """24 windows of the search and 6 of the finalists, whenever it was stopped; each round has each configuration once."""
    launcher = stop_at(window, KeyboardInterrupt)
    with pytest.raises(Interrupted, match="--resume"):
        bench.run(launcher)
    assert launcher.running == 0 and launcher.closed
    assert bench.storage.get_study("s").state is StudyState.INTERRUPTED
    before = all_windows(bench)
    assert len(before) == window - 1
    again = FakeLauncher()
    outcome = bench.run(again, resume=True)
    assert len(again.measured) == 30 - (window - 1)
    after = all_windows(bench)
    assert {item.id: item for item in before}.items() <= {item.id: item for item in after}.items()
    assert sorted((item.trial_id, item.round) for item in after) == sorted({(item.trial_id, item.round) for item in after})
    assert set(states(bench.trials(None))) == {TrialState.COMPLETE} and len(bench.trials(None)) == 10
    assert outcome.study.state is StudyState.COMPLETE
    assert len(bench.optuna_trials()) == 8 and all(trial.state.name == "COMPLETE" for trial in bench.optuna_trials())


@pytest.mark.slow
def test_the_rest_is_measured_in_the_order_it_would_have_had(bench: Workbench) -> None:
    whole = FakeLauncher()
    bench.run(whole, study="whole")
    first = stop_at(7, KeyboardInterrupt)
    with pytest.raises(Interrupted):
        bench.run(first)
    second = FakeLauncher()
    bench.run(second, resume=True)
    assert first.measured + second.measured == whole.measured


@pytest.mark.slow
def test_costs_and_engine_starts_add_up(bench: Workbench) -> None:
    with pytest.raises(Interrupted):
        bench.run(stop_at(5, KeyboardInterrupt))
    first = bench.storage.get_study("s")
    assert first.engine_starts == 1
    outcome = bench.run(resume=True)
    assert outcome.engine_starts == 4 and outcome.study.engine_starts == 5
    assert outcome.study.cost["wall"] > first.cost["wall"] > 0


@pytest.mark.slow
def test_resuming_a_finished_study_measures_nothing_and_changes_nothing(bench: Workbench) -> None:
    bench.run()
    windows, recommendation = all_windows(bench), bench.storage.list_recommendations()
    launcher = FakeLauncher()
    bench.run(launcher, resume=True)
    assert launcher.opened == []
    assert all_windows(bench) == windows and bench.storage.list_recommendations() == recommendation


@pytest.mark.slow
def test_a_failed_trial_is_not_tried_again(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        if configuration == Configuration(32, 256, "default"):
            raise BadInput("never works")

    bench.run(FakeLauncher(on_warm_up=hook))
    launcher = FakeLauncher()
    bench.run(launcher, resume=True)
    assert Configuration(32, 256, "default") not in launcher.measured
    assert states(bench.trials()).count(TrialState.FAIL) == 1


@pytest.mark.slow
def test_a_bug_of_ours_leaves_a_study_that_can_be_resumed(bench: Workbench) -> None:
    launcher = stop_at(9, Killed)
    with pytest.raises(Killed):
        bench.run(launcher)
    assert launcher.running == 0
    assert bench.storage.get_study("s").state is StudyState.FAIL
    again = FakeLauncher()
    bench.run(again, resume=True)
    assert len(again.measured) == 30 - 8


@pytest.mark.slow
def test_a_database_that_goes_away_in_the_middle_is_a_failed_run_and_no_bad_input(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1: measurements are there, and --resume goes on."""

    def gone(*_: object, **__: object) -> None:
        raise StorageUnavailable("connection refused")

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if len(launcher.measured) == 8:
            patch.setattr(SqlStorage, "add_measurement", gone)
        return result

    launcher = FakeLauncher(on_measure=hook)
    with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"study 's': connection refused; .* --resume"):
        bench.run(launcher)
    assert len(all_windows(bench)) == 8 and launcher.running == 0
    assert bench.run(resume=True).study.state is StudyState.COMPLETE


@pytest.mark.slow
def test_a_study_that_another_machine_took_over_is_left_alone(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine slept; the other one's lease, its state and its trials stay as they are."""
    monkeypatch.setattr("tuner.search.lease.HEARTBEAT_S", 0.01)

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if len(launcher.measured) == 5:
            study = bench.storage.get_study("s")
            ours = bench.storage.get_lease(study.id)
            assert ours is not None
            theirs = Lease(study.id, "theirs", 7, "elsewhere", process_started_at=0.0, heartbeat=time.time())
            assert bench.storage.swap_lease(study.id, ours.token, theirs)
            time.sleep(0.5)  # heartbeats
        return result

    launcher = FakeLauncher(on_measure=hook)
    with pytest.raises(StudyTaken, match="by process 7 on elsewhere"):
        bench.run(launcher)
    assert len(launcher.measured) == 6 and len(all_windows(bench)) == 5 and launcher.running == 0
    assert bench.storage.get_study("s").state is StudyState.RUNNING
    with pytest.raises(BadInput, match="is being run by process 7 on elsewhere"):
        bench.run(resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("lives", [True, False])
def test_a_study_whose_lease_an_older_version_wrote_into_optunas_attributes(bench: Workbench, lives: bool) -> None:
    with pytest.raises(Killed):
        bench.run(stop_at(9, Killed))
    assert bench.optuna_storage is not None
    started = psutil.Process().create_time() - (0 if lives else 3600)
    older = {"token": "x", "pid": os.getpid(), "host": socket.gethostname(), "process_started_at": started, "heartbeat": 1.0}
    study_id = bench.optuna_storage.get_study_id_from_name("s")
    bench.optuna_storage.set_study_user_attr(study_id, LEASE_ATTRIBUTE, older)
    if lives:
        with pytest.raises(BadInput, match=f"is being run by process {os.getpid()}"):
            bench.run(resume=True)
    else:
        assert bench.run(resume=True).study.state is StudyState.COMPLETE


def stopped(*_arguments: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_ctrl_c_while_a_study_is_being_opened_leaves_none_that_seems_to_run(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making Optuna's tables takes a second; the study is there by then."""
    with monkeypatch.context() as patched:
        patched.setattr("tuner.search.opening._older_lease", stopped)
        with pytest.raises(Interrupted, match="--resume"):
            bench.run()
    study = bench.storage.get_study("s")
    assert study.state is StudyState.INTERRUPTED and bench.storage.get_lease(study.id) is None
    assert bench.run(resume=True).study.state is StudyState.COMPLETE


@pytest.mark.slow
def test_ctrl_c_before_a_running_study_is_taken_up_does_not_call_it_interrupted(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Killed):
        bench.run(stop_at(3, Killed))
    bench.storage.update_study(bench.storage.get_study("s").id, state=StudyState.RUNNING)  # by a process elsewhere
    monkeypatch.setattr("tuner.search.opening._older_lease", stopped)
    with pytest.raises(Interrupted):
        bench.run(resume=True)
    assert bench.storage.get_study("s").state is StudyState.RUNNING


@pytest.mark.slow
def test_a_study_that_is_deleted_while_it_runs_is_not_to_be_resumed(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        with suppress(NotFound):
            bench.storage.delete_study(bench.storage.get_study("s").id, by=Actor("somebody"))
        return result

    launcher = FakeLauncher(on_measure=hook)
    with pytest.raises(StorageError, match="study 's': it was deleted while it ran; begin it anew without --resume"):
        bench.run(launcher)
    assert launcher.running == 0 and launcher.closed


@pytest.mark.slow
def test_optuna_learns_what_storage_knew_when_the_process_was_killed(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between storage's finish_trial and Optuna's tell."""
    from tuner.trials.optuna_record import OptunaRecord

    tell = OptunaRecord.complete

    def killed(*_arguments: Any) -> None:
        raise Killed

    monkeypatch.setattr(OptunaRecord, "complete", killed)
    with pytest.raises(Killed):
        bench.run()
    monkeypatch.setattr(OptunaRecord, "complete", tell)
    bench.run(resume=True)
    values = {trial._trial_id: trial.value for trial in bench.optuna_trials()}
    for trial in bench.trials():
        assert trial.values is not None and trial.optuna_trial_id is not None
        assert values[trial.optuna_trial_id] == trial.values["throughput"]


@pytest.mark.slow
def test_a_trial_that_only_optuna_knows_is_failed_there(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between Optuna's trial and ours."""
    create = type(bench.storage).create_trial

    def killed(*_arguments: Any) -> None:
        raise Killed

    monkeypatch.setattr(type(bench.storage), "create_trial", killed)
    with pytest.raises(Killed):
        bench.run()
    monkeypatch.setattr(type(bench.storage), "create_trial", create)
    bench.run(resume=True)
    assert [trial.state.name for trial in bench.optuna_trials()] == ["FAIL", *["COMPLETE"] * 8]


@pytest.mark.slow
def test_without_resume_an_existing_study_is_refused(bench: Workbench) -> None:
    bench.run()
    launcher = FakeLauncher()
    with pytest.raises(BadInput, match="study 's' exists; add --resume"):
        bench.run(launcher)
    assert launcher.opened == []


def test_resume_needs_a_study(bench: Workbench) -> None:
    with pytest.raises(BadInput, match="nothing to resume"):
        bench.run(resume=True)
    assert bench.storage.list_studies() == []


CHANGED: list[tuple[dict[str, Any], str]] = [
    ({"page_sizes": [16, 64]}, "page_sizes 16,32, not 16,64"),
    ({"rounds": 4}, "rounds"),
    ({"seed": 1}, "seed 0, not 1"),
    ({"objective": "ttft_p99_ms"}, "objective throughput, not ttft_p99_ms"),
    ({"max_num_seqs": 4}, "max_num_seqs"),
    ({"workload": "synthetic:input=8,output=8,requests=4"}, "workload"),
    ({"engine_args": {"gpu_memory_utilization": 0.5}}, "engine_args"),
]


@pytest.mark.slow
def test_resume_with_another_setting_names_it(bench: Workbench) -> None:
    with pytest.raises(Interrupted):
        bench.run(stop_at(1, KeyboardInterrupt))
    for changes, message in CHANGED:
        with pytest.raises(BadInput, match="begun with") as caught:
            bench.run(resume=True, **changes)
        assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_workload_file_that_changed_is_noticed(bench: Workbench) -> None:
    path = bench.folder / "work.yaml"
    lengths = "input: {kind: fixed, value: %d}, output: {kind: fixed, value: 4}"
    text = "source: {kind: synthetic, " + lengths + ", num_prompts: 4}\nload: {max_concurrency: 2}\n"
    path.write_text(text % 40)
    with pytest.raises(Interrupted):
        bench.run(stop_at(1, KeyboardInterrupt), workload=str(path))
    path.write_text(text % 41)
    with pytest.raises(BadInput, match="its requests are not those"):
        bench.run(resume=True, workload=str(path))


@pytest.mark.slow
def test_settings_that_say_only_how_long_may_change(bench: Workbench) -> None:
    with pytest.raises(Interrupted):
        bench.run(stop_at(1, KeyboardInterrupt))
    outcome = bench.run(resume=True, trial_timeout=30, time_budget="1h")
    assert outcome.study.state is StudyState.COMPLETE
