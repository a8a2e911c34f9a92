"""A whole search on the simulated engine: its statistics work, every way out says that it is simulated, and nobody gets its settings."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from storage.upgrade import open_storage
from tests.tuner.cli.terminal import Terminal

STEPS = "about: a test\npadded_ms: {16: 7, 128: 20, 512: 60}\nstep_noise: [0.97, 1.0, 1.04]\nwindow_noise: [0.995, 1.0, 1.004]\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("shared_simulation_host")]  # a process that imports vLLM


@pytest.fixture
def simulated(terminal: Terminal, tmp_path: Path) -> Terminal:
    (tmp_path / "steps.yaml").write_text(STEPS)
    settings = [
        "--model",
        "tiny-qwen3",
        "--study",
        "sim",
        "--page-sizes",
        "64",
        "--chunk-budgets",
        "128",
        "--workload",
        "demo",
        "--rounds",
        "4",
    ]
    places = ["--storage", terminal.url, "--logdir", str(terminal.folder / "profiles")]
    done = terminal.run("search", *settings, *places, "--launcher", "simulate", "--step-time", str(tmp_path / "steps.yaml"))
    assert done.code == 0, done.err
    return terminal


def test_a_simulated_study_has_verdicts_and_recommends_nothing(simulated: Terminal) -> None:
    compared = simulated.run("compare", "sim", "--storage", simulated.url, "--json").json
    (cell,) = [item for item in compared["comparisons"] if item["metric"] == "total_token_throughput"]
    assert cell["verdict"] == "worse" and cell["pairs"] == 4  # waiting for whole pages: docs/page-alignment.md
    assert compared["answer"]["sentence"].startswith("simulated, not measured: off")
    recommended = simulated.run("recommend", "sim", "--storage", simulated.url, "--json").json
    assert recommended["status"] == "none" and recommended["vllm_args"] == []
    assert recommended["predicted"]["settings"]["block_size"] == 64
    asked = ["--model", "tiny-qwen3", "--workload", "demo", "--accelerator", "TPU v6e-1", "--storage", simulated.url, "--json"]
    assert simulated.run("recommend", *asked).json["evidence"].get("study") is None  # vLLM's default, from no study
    with closing(open_storage(simulated.url, create=False)) as storage:
        study = storage.get_study("sim")
        windows = storage.list_measurements(study_id=study.id)
        assert windows and all(window.details["simulated"] for window in windows)
        (environment,) = {trial.environment for trial in storage.list_trials(study.id) if trial.environment is not None}
        assert storage.get_environment(environment).accelerator == "simulated engine"
