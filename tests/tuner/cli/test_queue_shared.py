"""Two `tuner worker` processes on one study, one of which is killed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from storage.queue_records import SubmissionState
from storage.records import Measurement, Stage
from storage.upgrade import open_storage
from tests.tuner.cli.terminal import ROOT, Terminal, start_process
from tests.waiting import wait_until

PAGES = (16, 32, 64)
OF_A_GROUP = 4 * 3  # configurations x rounds
HELD = 5


@pytest.mark.slow
def test_a_killed_workers_group_is_measured_by_another(ready: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leads or helps, whoever came first, and never ends its sixth window, so that a busy machine cannot miss the moment."""
    monkeypatch.setenv("TUNER_STORAGE", ready.url)
    monkeypatch.chdir(tmp_path)
    study = ready.folder / "study.yaml"
    spaces = f"page_sizes: {list(PAGES)}\nchunk_budgets: [128, 256]\n"
    study.write_text(f"model: tiny-qwen3\nstudy: s\n{spaces}workload: demo\nrounds: 3\nprofile: none\n")
    assert ready.run("submit", study, "--workers", "2").code == 0
    storage = open_storage(ready.url, create=False)

    def windows() -> list[Measurement]:
        found = [item for item in storage.list_studies() if item.name == "s"]
        return [window for item in found for window in storage.list_measurements(study_id=item.id)]

    processes = [_start(ready, "dies", HELD)]
    try:
        wait_until(lambda: len(windows()) == HELD, "the held window")
        processes.append(_start(ready, "stays", 1_000_000))
        wait_until(lambda: len(windows()) == HELD + 2 * OF_A_GROUP, "the other groups to be measured")
        held = {"dies": "measures page size 32, rounds from 1 on"}  # the baseline's
        wait_until(lambda: {part["worker"]: part["what"] for part in _shown(ready)["parts"]} == held, "only that group to be left")
        assert "for up to 2 workers; 1 measure now" in ready.run("queue", "show", "s").out
        processes[0].kill()
        wait_until(lambda: storage.get_submission(1).finished_at, "the study to end")
        processes[1].terminate()
        assert processes[1].wait(60) == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert storage.get_submission(1).state is SubmissionState.COMPLETE
    searched = storage.list_trials(storage.get_study("s").id, stage=Stage.SEARCH)
    for trial in searched:
        assert [window.round for window in storage.list_measurements(trial_id=trial.id)] == [0, 1, 2]
    measured = [(trial, window) for trial in searched for window in storage.list_measurements(trial_id=trial.id)]
    starts = {(window.details["engine_start"], trial.block_size) for trial, window in measured}
    assert len(starts) == len({number for number, _ in starts}) == len(PAGES) + 1, "each start is of one page size; one was started again"
    storage.close()


def _start(ready: Terminal, name: str, windows: int) -> subprocess.Popen[str]:
    env = {**os.environ, "TUNER_CACHE": str(ready.folder.parent / "cache"), "PYTHONPATH": str(ROOT), "TUNER_TEST_WINDOWS": str(windows)}
    options = ["worker", "--name", name, "--lease", "2s", "--poll", "0.2s", "--logdir", name]
    return start_process(options, env, "tests.tuner.cli.held_tuner")


def _shown(ready: Terminal) -> Any:
    return ready.run("queue", "show", "s", "--json").json
