"""Ctrl-C while `tuner search` measures with an engine of its own: the real host and a fork of it, which measures without vLLM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from storage.base import StorageUnavailable
from storage.upgrade import open_storage
from tests.tuner.launchers.light_engine import light_python
from tests.waiting import PATIENCE_S, wait_until
from tuner.engine.processes import group_alive

ROOT = Path(__file__).resolve().parents[3]
LIGHT = {"LIGHT_WINDOW_S": "0.1", "LIGHT_WINDOWS": "6"}  # of at least 12: the seventh lasts until the search is interrupted


def windows_in(url: str) -> int:
    """0 before the study exists, or while its tables are being made."""
    try:
        storage = open_storage(url, create=False, read_only=True)
    except StorageUnavailable:
        return 0
    try:
        return sum(len(storage.list_measurements(study_id=study.id)) for study in storage.list_studies())
    finally:
        storage.close()


@pytest.mark.slow
def test_ctrl_c_ends_the_engine_and_says_how_to_go_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 't.db'}"
    space = ("--model", "tiny-qwen3", "--page-sizes", "32", "--chunk-budgets", "128,256", "--workload", "demo", "--sampler", "grid")
    place = ("--study", "s", "--storage", url, "--logdir", str(tmp_path / "profiles"), "--json")
    engine = ("--engine-python", light_python(tmp_path), "--platform", "cpu", "--no-guard", "--profile", "none", "--rounds", "3")
    search = subprocess.Popen(
        [sys.executable, "-c", "from tuner.cli.main import main; main()", "search", *space, *place, *engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **LIGHT},
    )

    def came() -> bool:
        assert search.poll() is None, search.communicate()[1]
        return windows_in(url) >= 1

    try:
        wait_until(came, "a measured window", every_s=0.2)
        processes = [process.pid for process in psutil.Process(search.pid).children(recursive=True)]
        search.send_signal(signal.SIGINT)
        out, err = search.communicate(timeout=PATIENCE_S)
    finally:
        search.kill()
    assert search.returncode == 130
    assert "--resume" in err and "Traceback" not in err
    assert len(processes) == 2, "the host and the engine"
    assert not any(map(group_alive, processes))
    assert 1 <= windows_in(url) <= 6
    assert json.loads(out)["error"]["exit_code"] == 130
