"""The local launcher: the launcher contract on the real engine, and what vLLM is told on each platform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.launcher_contract import LauncherContract
from tests.plugins.engine import Reference, SharedEngines, mixed_plan
from tuner.core.contract import EngineSession, EngineSettings, Launcher, LiveSettings, LoadPlan
from tuner.core.errors import BadInput
from tuner.launchers.local import LocalLauncher, LocalSession
from tuner.metrics.window import window_metrics
from tuner.serving.engine_args import attention_backend_for, engine_args, pool_pages

SETTINGS = EngineSettings("m", "m", block_size=32, max_num_batched_tokens=256, max_num_seqs=8, max_model_len=512)


class OneEngineAtATime:
    """The session's launcher, closing the shared engine before it starts another one."""

    def __init__(self, launcher: LocalLauncher, engines: SharedEngines) -> None:
        self._launcher, self._engines = launcher, engines
        self.name, self.live_fields = launcher.name, launcher.live_fields

    def open(self, settings: EngineSettings, timeout_s: float) -> EngineSession:
        self._engines.close()
        return self._launcher.open(settings, timeout_s * 3)

    def close(self) -> None:
        """The session's launcher stays open for other tests."""


@pytest.mark.engine
@pytest.mark.timeout(900)
class TestLocalLauncher(LauncherContract):
    @pytest.fixture
    def launcher(self, local_launcher: LocalLauncher, engines: SharedEngines) -> Launcher:
        return OneEngineAtATime(local_launcher, engines)

    @pytest.fixture
    def session(self, engines: SharedEngines) -> LocalSession:
        return engines(32)

    @pytest.fixture
    def settings(self, reference: Reference) -> EngineSettings:
        return reference.settings(32)

    @pytest.fixture
    def impossible_settings(self, reference: Reference) -> EngineSettings:
        return reference.settings(32, extra_engine_args={"data_parallel_size": 2})

    @pytest.fixture
    def live(self) -> tuple[LiveSettings, LiveSettings]:
        return LiveSettings("default", 256), LiveSettings("page_aligned", 128)

    @pytest.fixture
    def plan(self) -> LoadPlan:
        return mixed_plan(count=8)

    def test_in_an_open_loop_the_wait_for_a_step_is_part_of_the_latency(self, session: LocalSession, plan: LoadPlan) -> None:
        """All arrive while the first one's prefill runs, so none of the others can be sent in time."""
        arriving = tuple(replace(request, arrival_s=0.0001 * index) for index, request in enumerate(plan.requests))
        live = LiveSettings("default", 256)
        session.warm_up(live, plan, 120)
        window = session.measure(live, replace(plan, requests=arriving, max_concurrency=None), 120)
        last = window.requests[-1]
        assert last.sent_s > last.planned_s
        shown = window_metrics(window, open_loop=True)
        assert shown["ttft_max_ms"] == pytest.approx(max(item.token_times_s[0] - item.planned_s for item in window.requests) * 1e3)
        assert not session.measure(live, plan, 120).latency_from_arrival


def test_a_host_engine_gets_the_xla_backend_a_small_pool_and_a_device_without_coordinates() -> None:
    args = engine_args(SETTINGS, "cpu")
    assert args["attention_backend"] == "TUNER_XLA"
    assert args["num_gpu_blocks_override"] == pool_pages(SETTINGS) == 2 * 8 * 16 + 1
    assert args["additional_config"]["sharding"]
    assert args["scheduler_cls"].endswith(".PageAlignedScheduler")


def test_a_tpu_engine_gets_none_of_the_accommodations() -> None:
    args = engine_args(SETTINGS, "tpu")
    assert "attention_backend" not in args
    assert "num_gpu_blocks_override" not in args
    assert "sharding" not in args["additional_config"]


def test_async_scheduling_gets_the_async_scheduler() -> None:
    args = engine_args(SETTINGS.with_changes(async_scheduling=True), "cpu")
    assert args["scheduler_cls"].endswith(".AsyncPageAlignedScheduler")


def test_users_engine_arguments_win_and_their_additional_config_is_kept() -> None:
    extra: dict[str, Any] = {"max_num_seqs": 3, "additional_config": {"other": 1, "tuner": {"variant": "strict"}}}
    args = engine_args(SETTINGS.with_changes(extra_engine_args=extra), "tpu")
    assert args["max_num_seqs"] == 3
    assert args["additional_config"]["other"] == 1
    assert args["additional_config"]["tuner"]["variant"] == "demote"  # ours: it is a setting of the study
    assert "additional_config" in extra  # the caller's mapping is left alone


@pytest.mark.parametrize(
    ("asked", "platform", "got"),
    [("auto", "tpu", "rpa"), ("auto", "cpu", "tuner_xla"), ("tuner_xla", "tpu", "tuner_xla"), ("tuner_rpa", "tpu", "tuner_rpa")],
)
def test_attention_backend(asked: str, platform: str, got: str) -> None:
    assert attention_backend_for(SETTINGS.with_changes(attention_backend=asked), platform) == got


@pytest.mark.parametrize("asked", ["rpa", "tuner_rpa"])
@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_a_tpu_kernel_without_a_tpu_is_refused(asked: str, platform: str) -> None:
    with pytest.raises(BadInput, match=f"attention_backend {asked} needs a TPU, the platform here is {platform}: use attention_backend"):
        attention_backend_for(SETTINGS.with_changes(attention_backend=asked), platform)


@pytest.mark.parametrize(("asked", "named"), [("auto", None), ("rpa", None), ("tuner_xla", "TUNER_XLA"), ("tuner_rpa", "TUNER_RPA")])
def test_a_backend_of_ours_is_named_to_vllm_on_a_tpu(asked: str, named: str | None) -> None:
    assert engine_args(SETTINGS.with_changes(attention_backend=asked), "tpu").get("attention_backend") == named


def test_a_tpu_that_is_asked_for_and_not_there_is_bad_input(tmp_path: Any) -> None:
    from tuner.engine.environment import tpu_present

    if tpu_present():
        pytest.skip("this machine has a TPU")
    with pytest.raises(BadInput, match="platform tpu: no TPU found"):
        LocalLauncher(log_dir=tmp_path, platform="tpu")
