"""`tuner search` on the real engine, killed half-way and taken up again: nothing is lost or measured twice, no process stays."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from storage.base import StorageUnavailable
from storage.records import Stage, TrialState
from storage.upgrade import open_storage
from tests.waiting import wait_until
from tuner.cli.command_line import run
from tuner.engine.processes import group_alive
from tuner.trials.trial import REPEATED
from tuner.verdict.profile_sessions import usable
from tuner.workload.phases import possible_phases

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (extra: tpu)"),
]

ROUNDS = 3
ARGUMENTS = [
    *("--model", "tiny-qwen3", "--study", "s", "--page-sizes", "32", "--chunk-budgets", "128,256"),
    *("--workload", "synthetic:input=33-120,output=8-12,requests=6,concurrency=4"),  # windows of a quarter of a second
    *("--sampler", "grid", "--rounds", str(ROUNDS), "--profile", "finalists", "--json"),
]


def search_of(folder: Path) -> list[str]:
    return ["search", *ARGUMENTS, "--storage", f"sqlite:///{folder / 't.db'}", "--logdir", str(folder / "profiles")]


def started(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from tuner.cli.main import main; main()", *search_of(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


def engine_processes_of(client_pid: int) -> list[int]:
    """Pids of the engine host that this client started (its pid is the last argument) and of the engine forked from it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "tuner.engine.host" in words and str(client_pid) in words:
                found.append(int(entry.name))
    return found


def stored_windows(folder: Path) -> dict[int, tuple[int, int]]:
    """Measurement id -> (trial, round); empty before the study exists, or while its tables are being made."""
    try:
        storage = open_storage(f"sqlite:///{folder / 't.db'}", create=False, read_only=True)
    except StorageUnavailable:
        return {}
    try:
        studies = storage.list_studies()
        windows = storage.list_measurements(study_id=studies[0].id) if studies else []
        return {window.id: (window.trial_id, window.round) for window in windows}
    finally:
        storage.close()


def wait_for_windows(folder: Path, search: subprocess.Popen[str], count: int) -> None:
    def came() -> bool:
        assert search.poll() is None, search.communicate()[1]
        return len(stored_windows(folder)) >= count

    wait_until(came, "measured windows", patience_s=600, every_s=0.2)


def kill_after_windows(folder: Path, count: int) -> tuple[int, list[int], dict[int, tuple[int, int]]]:
    """Start a search and kill -9 it once `count` windows are stored. Returns its pid, its engine processes and the windows."""
    search = started(folder)
    try:
        wait_for_windows(folder, search, count)
        processes = engine_processes_of(search.pid)
    finally:
        search.kill()
        search.communicate()
    return search.pid, processes, stored_windows(folder)


@pytest.fixture(scope="module")
def finished(shared_engine_host: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[int, tuple[int, int]]]:
    """A study that was killed in its first rounds and resumed: its folder, the final JSON, the windows stored before the kill.

    Resumed in this process, whose engines are forked from the session's host: the killed one has imported vLLM for itself."""
    folder = tmp_path_factory.mktemp("search")
    _, processes, before = kill_after_windows(folder, 2)
    assert len(processes) == 2
    wait_until(lambda: not any(map(group_alive, processes)), "the engine ends with its parent")
    others = engine_processes_of(os.getpid())
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.chdir(folder)
        assert run([*search_of(folder), "--resume"]) == 0
    left = set(engine_processes_of(os.getpid())) - set(others)
    assert len(left) == (not others), "no engine; the host, where it did not run before"
    return folder, json.loads(out.getvalue()), before


def test_exactly_the_missing_windows_were_measured(finished: tuple[Path, dict[str, Any], dict[int, tuple[int, int]]]) -> None:
    folder, _, before = finished
    after = stored_windows(folder)
    assert {key: after[key] for key in before} == before
    storage = open_storage(f"sqlite:///{folder / 't.db'}", create=False, read_only=True)
    study = storage.get_study("s")
    trials = storage.list_trials(study.id)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * len(trials)
    assert len([trial for trial in trials if trial.stage is Stage.SEARCH]) == 4
    for trial in trials:
        kept = [window for window in storage.list_measurements(trial_id=trial.id) if window.invalid_reason not in REPEATED]
        assert sorted(window.round for window in kept) == list(range(ROUNDS))
    storage.close()


def test_every_arm_generated_the_same_tokens(finished: tuple[Path, dict[str, Any], dict[int, tuple[int, int]]]) -> None:
    folder, _, _ = finished
    storage = open_storage(f"sqlite:///{folder / 't.db'}", create=False, read_only=True)
    windows = storage.list_measurements(study_id=storage.get_study("s").id)
    storage.close()
    assert len({window.details["output_digest"] for window in windows}) == 1


def test_the_finalists_ran_with_their_own_flags_and_were_profiled(
    finished: tuple[Path, dict[str, Any], dict[int, tuple[int, int]]],
) -> None:
    folder, _, _ = finished
    storage = open_storage(f"sqlite:///{folder / 't.db'}", create=False, read_only=True)
    study = storage.get_study("s")
    finalists = storage.list_trials(study.id, stage=Stage.CONFIRM)
    profiles = storage.list_profiles(study_id=study.id)
    storage.close()
    assert {trial.arm for trial in finalists} == {"default", "page_aligned"}
    for trial in finalists:
        assert trial.effective["max_num_batched_tokens"] == trial.max_num_batched_tokens
        assert trial.effective["scheduler_cls"].endswith("PageAlignedScheduler") == (trial.arm == "page_aligned")
    best, twin, *_ = sorted(finalists, key=lambda trial: trial.number)
    assert (best.block_size, best.max_num_batched_tokens) == (twin.block_size, twin.max_num_batched_tokens)
    profiled = {profile.trial_id for profile in profiles}
    assert {best.id, twin.id} <= profiled, "another that is tied with the best is confirmed and not profiled"
    for trial in [finalist for finalist in finalists if finalist.id in profiled]:
        mine = [profile for profile in profiles if profile.trial_id == trial.id]
        assert {profile.phase for profile in mine} == set(possible_phases(trial.effective["max_num_seqs"]))
        assert all(profile.quality["attempt"] <= 2 and profile.summary["phases"] for profile in usable(mine))
    for profile in profiles:
        assert profile.status in {"ok", "bad"}, profile.quality
        file = folder / "profiles" / profile.run / "plugins" / "profile" / profile.session / f"{profile.host}.xplane.pb"
        assert file.stat().st_size == profile.size_bytes
