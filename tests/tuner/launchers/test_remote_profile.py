"""A profile of a server that runs already: what is wrong is one line, and a real `vllm serve` is captured with its batches."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from profiles.summary import summarise
from tests.tuner.launchers.answering import MODELS, answering
from tuner.core.contract import ARM_DEFAULT, EngineSettings, LiveSettings, ProfileTarget
from tuner.core.errors import BadInput, TrialFailed
from tuner.launchers.remote_profile import RemoteLoad, RunningServer, capture_running
from tuner.launchers.serve import ServeLauncher, serve_flags
from tuner.setup.models import TINY_QWEN3, resolve_model

LOAD = RemoteLoad(requests=6, concurrency=3, prompt_tokens=40, output_tokens=8)
START_TIMEOUT_S = 600.0


@pytest.mark.parametrize(
    ("status", "models", "error", "word"),
    [
        ({"/v1/models": 404}, MODELS, BadInput, "/v1/models answers 404; is this a vllm serve"),
        ({}, {"data": []}, BadInput, "names no model"),
        ({"/v1/completions": 500}, MODELS, TrialFailed, "refused a request: 500"),
        ({"/start_profile": 404}, MODELS, BadInput, "started without a profiler; start vllm serve with --profiler-config"),
        ({"/start_profile": 500}, MODELS, TrialFailed, "refused /start_profile: 500"),
        ({}, MODELS, BadInput, "no new profile below --profiler-dir"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, status: dict[str, int], models: object, error: type[Exception], word: str) -> None:
    (tmp_path / "old.xplane.pb").write_bytes(b"of an earlier profile")
    with answering(status, models) as url, pytest.raises(error, match=word) as caught:
        capture_running(RunningServer(url, 30), LOAD, tmp_path, ProfileTarget(tmp_path / "logs", "run", "s"), lambda what: None)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "logs").exists()


def test_a_load_that_would_make_too_large_a_trace_is_refused(tmp_path: Path) -> None:
    load = RemoteLoad(requests=500, concurrency=4, output_tokens=64)
    assert (LOAD.steps, load.steps) == (6 + 2 * 8, 500 + 125 * 64)
    RemoteLoad().check()
    with answering({}) as url, pytest.raises(BadInput, match=r"--requests 500 with --output-tokens 64 are about 8500 steps.*at most 140"):
        capture_running(RunningServer(url, 30), load, tmp_path, ProfileTarget(tmp_path / "logs", "run", "s"), lambda what: None)


def test_a_server_that_asks_for_a_key_gets_the_one_that_vllm_would_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with answering({}, key="secret") as url:
        with pytest.raises(BadInput, match="asks for an API key; set VLLM_API_KEY"):
            RunningServer(url, 30).model()
        monkeypatch.setenv("VLLM_API_KEY", "secret")
        assert RunningServer(url, 30).model() == "m"


@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("shared_command_host")
def test_a_real_server_is_captured_with_its_batches(tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (extra: tpu)")
    model = resolve_model(TINY_QWEN3)
    model.prepare()
    base = EngineSettings("m", "m", block_size=32, max_num_batched_tokens=128, max_num_seqs=4, max_model_len=256)
    settings = replace(base, model=TINY_QWEN3, model_path=model.path, dtype="float32", load_format=model.load_format)
    traces = tmp_path / "traces"
    traces.mkdir()
    config = json.dumps({"profiler": "torch", "torch_profiler_dir": str(traces)})
    launcher = ServeLauncher(log_dir=tmp_path / "serve", platform="auto")
    try:
        flags = serve_flags(settings, LiveSettings(ARM_DEFAULT, 128), launcher.platform)
        server = launcher.start_server(settings, [*flags, "--profiler-config", config], START_TIMEOUT_S)
        target = ProfileTarget(tmp_path / "logs", "mine", "s")
        (path,) = capture_running(RunningServer(server.base_url, 240), LOAD, traces, target, lambda what: None)
        server.stop()
    finally:
        launcher.close()
    assert path.parent == tmp_path / "logs" / "mine" / "plugins" / "profile" / "s"
    summary = summarise(path)
    assert summary.quality["attributed"] >= 0.95
    assert summary.phases["all"]["steps"] >= 8
    assert sum(tokens or 0 for tokens in summary.steps["scheduled_tokens"]) >= LOAD.requests * LOAD.prompt_tokens  # by the markers
    assert "prefill" in summary.phases and "decode" in summary.phases
