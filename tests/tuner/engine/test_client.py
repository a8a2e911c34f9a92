"""The engine's process: failures are typed, the engine survives what it can, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from profiles.session_plan import PHASES, STEPS_PER_PHASE, PhasePlan, phase_of
from tests.plugins.engine import RUN_TIMEOUT_S, START_TIMEOUT_S, Reference, SharedEngines
from tests.tuner.launchers.light_engine import light_python
from tests.waiting import wait_until
from tuner.core.contract import LiveSettings, ProfileTarget
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.engine.client import EngineHost
from tuner.engine.processes import group_alive
from tuner.launchers.local import LocalLauncher, LocalSession
from tuner.workload.spec import WorkloadSpec

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

Engines = SharedEngines
LIVE = LiveSettings("default", 128)


def test_a_window_reports_every_request_step_and_token(engines: SharedEngines, reference: Reference) -> None:
    session = engines(32)
    session.warm_up(LIVE, reference.plan, RUN_TIMEOUT_S)
    window = session.measure(LIVE, reference.plan, RUN_TIMEOUT_S)
    again = session.measure(LIVE, reference.plan, RUN_TIMEOUT_S)
    assert window.compilations == again.compilations == 0
    assert window.output_digest == again.output_digest
    by_id = {record.request_id: record for record in window.requests}
    for request in reference.plan.requests:
        record = by_id[request.request_id]
        assert len(record.token_times_s) == request.max_tokens
        assert record.prompt_tokens == len(request.prompt_token_ids)
        assert record.finished_s is not None
        assert 0 <= record.sent_s <= record.token_times_s[0] <= record.finished_s <= window.duration_s
    prompts = sum(len(request.prompt_token_ids) for request in reference.plan.requests)
    outputs = sum(request.max_tokens for request in reference.plan.requests)
    cached = sum(record.cached_tokens for record in window.requests)
    assert sum(step.scheduled_tokens for step in window.steps) == prompts - cached + outputs - len(reference.plan.requests)
    assert sum(step.prefill_tokens for step in window.steps) == prompts - cached, "also prompts and last chunks of one token"
    assert sum(step.decode_requests for step in window.steps) == outputs - len(reference.plan.requests)
    assert all(step.scheduled_tokens <= min(step.padded_tokens, LIVE.max_num_batched_tokens) for step in window.steps)
    assert session.report.effective["block_size"] == 32
    assert session.report.effective["kv_write"].count(",") == 1
    assert session.report.environment["versions"]["jax"]


def test_live_settings_beyond_the_compiled_maximum_are_refused_and_the_engine_goes_on(engines: SharedEngines, reference: Reference) -> None:
    session = engines(32)
    with pytest.raises(TrialFailed, match="max_num_batched_tokens must be between 1 and the compiled maximum 256") as caught:
        session.measure(LiveSettings("default", 512), reference.plan, RUN_TIMEOUT_S)
    assert caught.value.failure is FailureClass.INVALID_CONFIG
    assert not isinstance(caught.value, EngineLost)
    assert session.measure(LIVE, reference.plan, RUN_TIMEOUT_S).requests


def test_a_long_prompt_is_cut_as_the_live_threshold_says_and_not_when_it_is_gone(engines: SharedEngines, reference: Reference) -> None:
    """vLLM cuts only while another request is there; of two prompts alike the first is alone in no step."""
    session = engines(32)
    plan = WorkloadSpec.parse("synthetic:input=100,output=4,requests=2,concurrency=2").plan(1000, 400)

    def most_of_a_prompt(threshold: int | None) -> float:
        live = replace(LIVE, long_prefill_token_threshold=threshold)
        session.warm_up(live, plan, RUN_TIMEOUT_S)
        steps = session.measure(live, plan, RUN_TIMEOUT_S).steps
        assert sum(step.prefill_tokens for step in steps) == 2 * 100
        return max(step.prefill_tokens / step.prefill_requests for step in steps if step.prefill_requests)

    found = [most_of_a_prompt(threshold) for threshold in (None, 24, 40, 0, 24, None)]
    assert found == [72, 24, 40, 72, 24, 72], "without it 128 tokens of two prompts, then 72 of one"
    for wrong in (-1, 1 << 20):
        with pytest.raises(TrialFailed, match="between 0 and max_model_len") as caught:
            session.measure(replace(LIVE, long_prefill_token_threshold=wrong), plan, RUN_TIMEOUT_S)
        assert caught.value.failure is FailureClass.INVALID_CONFIG
    assert session.measure(LIVE, reference.plan, RUN_TIMEOUT_S).requests


def test_a_window_that_takes_too_long_is_a_timeout_and_the_engine_goes_on(engines: SharedEngines, reference: Reference) -> None:
    session = engines(32)
    with pytest.raises(TrialFailed, match="unfinished") as caught:
        session.measure(LIVE, reference.plan, 0.01)
    assert caught.value.failure is FailureClass.TIMEOUT
    assert session.measure(LIVE, reference.plan, RUN_TIMEOUT_S).requests


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_is_captured_in_tensorboards_layout(engines: SharedEngines, reference: Reference, tmp_path: Path, phase: str) -> None:
    session = engines(32)
    assert session.profile_phases == PHASES
    session.warm_up(LIVE, reference.plan, RUN_TIMEOUT_S)
    (profile,) = session.profile(
        LIVE, reference.plan, ProfileTarget(tmp_path, "study/trial-0001", "first"), phase=phase, timeout_s=RUN_TIMEOUT_S
    )
    assert profile.path == tmp_path / "study/trial-0001/plugins/profile/first" / f"{profile.host}.xplane.pb"
    assert profile.path.stat().st_size == profile.size_bytes > 10_000
    assert profile.size_bytes < PhasePlan().max_bytes
    assert [phase_of(step.prefill_tokens / step.scheduled_tokens) for step in profile.steps].count(phase) == STEPS_PER_PHASE
    assert profile.details["compilations"] == 0
    assert not (tmp_path / ".partial").exists()
    assert session.measure(LIVE, reference.plan, RUN_TIMEOUT_S).requests  # nothing of the load is left


def measure_until_it_fails(session: LocalSession, reference: Reference) -> None:
    for _ in range(50):
        session.measure(LIVE, reference.plan, RUN_TIMEOUT_S)


def test_an_engine_killed_while_measuring_is_lost_with_its_log_and_a_new_one_starts(engines: SharedEngines, reference: Reference) -> None:
    session = engines(32)
    threading.Timer(0.3, os.kill, (session.pid, signal.SIGKILL)).start()
    with pytest.raises(EngineLost, match="SIGKILL") as caught:
        measure_until_it_fails(session, reference)
    assert caught.value.failure is FailureClass.ENGINE_CRASH
    assert caught.value.log_excerpt.strip()
    assert not group_alive(session.pid)
    with pytest.raises(EngineLost):
        session.measure(LIVE, reference.plan, RUN_TIMEOUT_S)
    assert engines(32).measure(LIVE, reference.plan, RUN_TIMEOUT_S).requests


@pytest.mark.parametrize(
    ("changes", "failure", "word"),
    [
        pytest.param(
            {"async_scheduling": True, "extra_engine_args": {"scheduler_cls": "tuner.vllm_plugin.scheduler.PageAlignedScheduler"}},
            FailureClass.INVALID_CONFIG,
            "async_scheduling",
            id="async mismatch",
        ),
        pytest.param(
            {"extra_engine_args": {"data_parallel_size": 2}}, FailureClass.INVALID_CONFIG, "data_parallel_size", id="data parallel"
        ),
        pytest.param(
            {"extra_engine_args": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3}}},
            FailureClass.INVALID_CONFIG,
            "speculative_config",
            id="speculative decoding",
        ),
        pytest.param(
            {"extra_engine_args": {"additional_config": {"tuner": {"page_wise": True}}}},
            FailureClass.INVALID_CONFIG,
            "page_wise",
            id="unknown plugin key",
        ),
        pytest.param({"num_gpu_blocks": 200_000_000}, FailureClass.OUT_OF_MEMORY, "memory|RESOURCE_EXHAUSTED", id="out of memory"),
    ],
)
def test_an_engine_that_cannot_start_says_why_and_leaves_nothing(
    engines: SharedEngines,
    local_launcher: LocalLauncher,
    reference: Reference,
    changes: dict[str, object],
    failure: FailureClass,
    word: str,
) -> None:
    engines.close()
    with pytest.raises(EngineLost, match=word) as caught:
        local_launcher.open(reference.settings(32, **changes), START_TIMEOUT_S)
    assert caught.value.failure is failure
    assert "\n" not in str(caught.value)
    assert caught.value.log_excerpt


def test_killing_the_client_leaves_no_process_behind(tmp_path: Path) -> None:
    """The host as it is; the engine is a light one. A real one ends as well: tests/tuner/cli/test_search_on_the_engine.py."""
    program = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from tests.tuner.launchers.tables import SETTINGS
        from tuner.launchers.local import LocalLauncher
        launcher = LocalLauncher(log_dir=Path({str(tmp_path)!r}), python={light_python(tmp_path)!r}, platform="cpu")
        session = launcher.open(SETTINGS, {START_TIMEOUT_S})
        print(launcher.host_pid, session.pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        host, engine = (int(word) for word in client.stdout.readline().split())
        assert group_alive(host) and group_alive(engine)
        client.kill()
    wait_until(lambda: not group_alive(host) and not group_alive(engine), "host and engine end")


def test_a_python_without_vllm_is_reported(tmp_path: Path) -> None:
    """`--engine-python` that cannot import vLLM: one line, not a hang."""
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # -S: no site-packages
    fake.chmod(0o755)
    with pytest.raises(EngineLost, match=r"vLLM cannot be imported|died while importing") as caught:
        EngineHost(str(fake), dict(os.environ), tmp_path / "logs")
    assert caught.value.failure is FailureClass.STARTUP
