"""The serve launcher: the launcher contract on a real `vllm serve`, and what only a server can get wrong.

One command host, of the session; the server is shared wherever a test does not end it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.launcher_contract import LauncherContract
from tests.plugins.engine import VOCABULARY, Reference, mixed_plan
from tests.waiting import wait_until
from tuner.core.contract import EngineSession, EngineSettings, Launcher, LiveSettings, LoadPlan, PlannedRequest
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.engine.bench_trace import tokenizer_files
from tuner.engine.cpu_contention import CONTENTION, OWN_CPU
from tuner.engine.processes import group_alive
from tuner.launchers.serve import ServeLauncher, ServeSession, serve_flags
from tuner.launchers.vllm_server import VllmServer
from tuner.metrics.window import window_metrics
from tuner.setup.models import TINY_QWEN3, resolve_model
from tuner.verdict.canaries import agreement, tolerance_of
from tuner.workload.canaries import canary_plan

SETTINGS = EngineSettings("m", "m", block_size=32, max_num_batched_tokens=256, max_num_seqs=8, max_model_len=512)
ALIGNED, DEFAULT = LiveSettings("page_aligned", 256), LiveSettings("default", 128)
TIMEOUT_S = 240.0


class SharedServer:
    """The module's launcher, handing out the running session as long as it lives and its settings are the same."""

    def __init__(self, launcher: ServeLauncher) -> None:
        self.launcher = launcher
        self.name, self.live_fields = launcher.name, launcher.live_fields
        self._current: tuple[EngineSettings, ServeSession] | None = None

    def open(self, settings: EngineSettings, timeout_s: float) -> ServeSession:
        if self._current is not None and (self._current[0] != settings or not self._current[1].alive):
            self._current[1].close()
            self._current = None
        if self._current is None:
            self._current = (settings, self.launcher.open(settings, timeout_s * 3))
        return self._current[1]

    def close(self) -> None:
        """The module's launcher stays open for other tests."""


def soon(request: Callable[..., tuple[int, bytes]]) -> Callable[..., tuple[int, bytes]]:
    """VllmServer._request that gives up after five seconds."""
    return lambda server, method, path, timeout_s=5.0, body=None: request(server, method, path, min(timeout_s, 5.0), body)


@pytest.fixture(scope="module")
def serve_launcher(shared_command_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeLauncher]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (extra: tpu)")
    launcher = ServeLauncher(log_dir=tmp_path_factory.mktemp("serve"), platform="auto")
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def shared(serve_launcher: ServeLauncher) -> SharedServer:
    return SharedServer(serve_launcher)


@pytest.fixture(scope="module")
def tiny() -> EngineSettings:
    """Dummy weights and no tokenizer."""
    model = resolve_model(TINY_QWEN3)
    model.prepare()
    return replace(SETTINGS, model=TINY_QWEN3, model_path=model.path, dtype="float32", load_format=model.load_format)


@pytest.mark.engine
@pytest.mark.timeout(900)
class TestServeLauncher(LauncherContract):
    @pytest.fixture
    def launcher(self, shared: SharedServer) -> Launcher:
        return shared

    @pytest.fixture
    def session(self, shared: SharedServer, tiny: EngineSettings) -> EngineSession:
        return shared.open(tiny, TIMEOUT_S)

    @pytest.fixture
    def settings(self, tiny: EngineSettings) -> EngineSettings:
        return tiny

    @pytest.fixture
    def impossible_settings(self, tiny: EngineSettings) -> EngineSettings:
        return replace(tiny, extra_engine_args={"data_parallel_size": 2})

    @pytest.fixture
    def live(self) -> tuple[LiveSettings, LiveSettings]:
        return ALIGNED, DEFAULT

    @pytest.fixture
    def plan(self) -> LoadPlan:
        return mixed_plan(count=8)

    def test_a_launcher_may_be_closed_twice(self, tmp_path: Path) -> None:  # type: ignore[override]  # without another start
        launcher = ServeLauncher(log_dir=tmp_path, platform="cpu")
        launcher.close()
        launcher.close()
        assert launcher.name == "serve"


@pytest.mark.engine
@pytest.mark.timeout(900)
class TestServer:
    def test_our_metrics_are_those_of_vllm_bench_serve_and_every_window_starts_with_an_empty_cache(
        self, shared: SharedServer, tiny: EngineSettings
    ) -> None:
        session, plan = shared.open(tiny, TIMEOUT_S), mixed_plan()
        session.warm_up(ALIGNED, plan, TIMEOUT_S)
        windows = [session.measure(ALIGNED, plan, TIMEOUT_S) for _ in range(2)]
        for window in windows:
            ours = window_metrics(replace(window, reported_metrics={}))
            for name, value in window.reported_metrics.items():
                if name.startswith(("ttft", "tpot", "e2el")) or name.endswith("throughput"):
                    assert ours[name] == pytest.approx(value, rel=1e-6), name
            assert window.reported_metrics["completed"] == len(plan.requests)
            assert window.details["prefix_cache_reset"] is True
            assert window.details[OWN_CPU] > 0.02, "server, engine core and benchmark are our own"
            assert 0 <= window.details[CONTENTION] <= 1
        fractions = [window.reported_metrics["prefix_cache_hit_rate"] for window in windows]
        possible = _shared_fraction(plan, tiny.block_size)
        assert all(0 < fraction <= possible + 1e-9 for fraction in fractions), (fractions, possible)  # a kept cache would give nearly 1

    def test_canaries_are_answered_over_http_and_alike_however_they_are_batched(self, shared: SharedServer, tiny: EngineSettings) -> None:
        session, plan = shared.open(tiny, TIMEOUT_S), canary_plan(512, tiny.max_model_len, (tiny.block_size,), (128,))
        together = session.answer(ALIGNED, plan, TIMEOUT_S)
        tolerance = tolerance_of(together, session.answer(ALIGNED, replace(plan, max_concurrency=1), TIMEOUT_S))
        assert tolerance is not None and tolerance < 0.01
        assert agreement(together, session.answer(DEFAULT, plan, TIMEOUT_S), tolerance).fault is None
        assert [len(item.ids) for item in together] == [request.max_tokens for request in plan.requests]

    def test_it_serves_the_flags_that_would_be_recommended_and_starts_again_for_another_arm(
        self, shared: SharedServer, tiny: EngineSettings
    ) -> None:
        session, plan = shared.open(tiny, TIMEOUT_S), mixed_plan(count=4)
        restarts = session.restarts
        session.warm_up(DEFAULT, plan, TIMEOUT_S)
        default, first = session.report, session.restarts
        assert first <= restarts + 1
        session.measure(ALIGNED, plan, TIMEOUT_S)
        aligned = session.report
        assert session.restarts == aligned.details["restarts"] == first + 1
        assert aligned.details["flags"] == serve_flags(tiny, ALIGNED, shared.launcher.platform)
        assert "--scheduler-cls" not in default.details["flags"]
        assert aligned.effective["scheduler_cls"].endswith(".PageAlignedScheduler")
        assert default.effective["scheduler_cls"] == "vllm.v1.core.sched.scheduler.Scheduler"
        assert default.effective["max_num_batched_tokens"] == DEFAULT.max_num_batched_tokens
        assert aligned.environment == default.environment

    def test_open_loop_requests_leave_at_their_arrivals(self, shared: SharedServer, tiny: EngineSettings) -> None:
        session = shared.open(tiny, TIMEOUT_S)
        requests = tuple(PlannedRequest(f"r{index}", (5, 6, 7 + index), 3, 0.25 * index) for index in range(4))
        plan = LoadPlan(requests, None, "open-loop")
        window = session.measure(ALIGNED, plan, TIMEOUT_S)
        assert window.duration_s >= 0.75
        for record in window.requests:
            assert 0 <= record.sent_s - record.planned_s < 0.2

    def test_an_engine_core_that_is_killed_is_a_crash_and_the_next_server_starts(
        self, shared: SharedServer, tiny: EngineSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without its core vLLM's front end does not answer: the minute that a server has for an answer is a few seconds here."""
        session = shared.open(tiny, TIMEOUT_S)
        server, plan = _pid(session.use(ALIGNED).command.pid), mixed_plan(count=2)
        (engine_core,) = [pid for pid in _descendants(server) if "EngineCore" in _command(pid)]
        os.kill(engine_core, signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr(VllmServer, "_request", soon(VllmServer._request))
            with pytest.raises(EngineLost) as caught:
                session.measure(ALIGNED, plan, TIMEOUT_S)
        assert caught.value.failure is FailureClass.ENGINE_CRASH
        assert caught.value.log_excerpt
        assert not group_alive(server)
        with pytest.raises(EngineLost):
            session.warm_up(ALIGNED, plan, TIMEOUT_S)
        assert len(shared.open(tiny, TIMEOUT_S).measure(ALIGNED, plan, TIMEOUT_S).requests) == 2

    def test_a_failure_inside_the_engine_core_is_told_by_its_cause(self, shared: SharedServer, tiny: EngineSettings) -> None:
        shared.open(tiny, TIMEOUT_S).close()
        with pytest.raises(TrialFailed, match="KV cache") as caught:
            shared.launcher.open(replace(tiny, num_gpu_blocks=2), TIMEOUT_S)
        assert caught.value.failure is FailureClass.INVALID_CONFIG
        assert "\n" not in str(caught.value)
        assert "Traceback" in caught.value.log_excerpt

    def test_a_server_that_is_not_ready_in_time_is_a_time_out_and_is_gone(self, shared: SharedServer, tiny: EngineSettings) -> None:
        shared.open(tiny, TIMEOUT_S).close()
        with pytest.raises(TrialFailed, match=r"not ready after 0\.1 s") as caught:
            shared.launcher.open(tiny, 0.1)
        assert caught.value.failure is FailureClass.TIMEOUT
        assert not _descendants(_pid(shared.launcher.host_pid))

    def test_a_model_with_weights_and_a_tokenizer_is_served_as_it_would_be(self, shared: SharedServer, reference: Reference) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (reference.model_path / name).write_text(json.dumps(tokenizer_files(range(VOCABULARY))[name]))
        session = shared.open(replace(reference.settings(32), alignable=False), TIMEOUT_S)
        assert "--skip-tokenizer-init" not in session.report.details["flags"]
        window = session.measure(LiveSettings("default", 256), reference.plan, TIMEOUT_S)
        assert [len(record.token_times_s) for record in window.requests] == [request.max_tokens for request in reference.plan.requests]
        with pytest.raises(TrialFailed, match="alignable"):
            session.measure(ALIGNED, reference.plan, TIMEOUT_S)
        session.close()


@pytest.mark.engine
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("victim", "when"), [("client", "ready"), ("host", "starting")])
def test_killing_the_client_or_the_command_host_leaves_no_process_behind(
    victim: str, when: str, tiny: EngineSettings, tmp_path: Path
) -> None:
    script = textwrap.dedent(
        """
        import sys, threading, time
        from pathlib import Path
        from tuner.core.contract import EngineSettings
        from tuner.launchers.serve import ServeLauncher

        launcher = ServeLauncher(log_dir=Path(sys.argv[1]), platform="auto")

        def tell():
            while launcher.host_pid is None:
                time.sleep(0.05)
            print(launcher.host_pid, flush=True)

        threading.Thread(target=tell, daemon=True).start()  # not the other way round: children die with the thread that started them
        launcher.open(EngineSettings(**eval(sys.argv[2])), 300)
        print("ready", flush=True)
        time.sleep(600)
        """
    )
    fields = {name: getattr(tiny, name) for name in SETTINGS.__dataclass_fields__}
    client = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), repr(fields)], stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout is not None
        host = int(client.stdout.readline())
        if when == "ready":
            assert client.stdout.readline() == "ready\n"
        wait_until(lambda: any("EngineCore" in _command(pid) for pid in _descendants(host)), "the engine core is a process of its own")
        family = [host, *_descendants(host)]
        os.kill(client.pid if victim == "client" else host, signal.SIGKILL)
        wait_until(lambda: not any(map(_running, family)), "the server's processes end")
    finally:
        client.kill()
        client.wait()


@pytest.mark.parametrize("arm", ["default", "page_aligned"])
def test_a_platform_flag_set_is_made_of_the_live_settings(arm: str) -> None:
    flags = serve_flags(SETTINGS, LiveSettings(arm, 128, 4), "tpu")
    assert flags[flags.index("--max-num-batched-tokens") + 1] == "128"
    assert flags[flags.index("--max-num-seqs") + 1] == "4"
    assert ("--scheduler-cls" in flags) == (arm == "page_aligned")


def test_a_tpu_that_is_asked_for_and_not_there_is_bad_input(tmp_path: Path) -> None:
    from tuner.engine.environment import tpu_present

    if tpu_present():
        pytest.skip("this machine has a TPU")
    with pytest.raises(BadInput, match="platform tpu: no TPU found"):
        ServeLauncher(log_dir=tmp_path, platform="tpu")


def test_a_python_without_vllm_is_told(tmp_path: Path) -> None:
    launcher = ServeLauncher(log_dir=tmp_path, python=str(tmp_path / "python"), platform="cpu")
    with pytest.raises(TrialFailed, match=r"--engine-python .* cannot be started") as caught:
        launcher.open(SETTINGS, 10)
    assert caught.value.failure is FailureClass.STARTUP


def _shared_fraction(plan: LoadPlan, block_size: int) -> float:
    """The fraction of prompt tokens that another prompt of the plan has in its leading whole pages."""
    prompts = [request.prompt_token_ids for request in plan.requests]
    shared = 0
    for index, prompt in enumerate(prompts):
        common = max((_common(prompt, other) for place, other in enumerate(prompts) if place != index), default=0)
        shared += common // block_size * block_size
    return shared / sum(map(len, prompts))


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _descendants(pid: int) -> list[int]:
    children = [int(word) for task in Path(f"/proc/{pid}/task").glob("*/children") for word in task.read_text().split()]
    return [found for child in children if _running(child) for found in (child, *_descendants(child))]


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command(pid: int) -> str:
    """Empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _pid(pid: int | None) -> int:
    assert pid is not None
    return pid
