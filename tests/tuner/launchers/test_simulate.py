"""The simulated launcher: the launcher contract, and what keeps a prediction from being taken for a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.launcher_contract import LauncherContract
from tuner.core.contract import EngineSettings, LiveSettings, LoadPlan
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.foresight.simulated_chip import simulated_chip
from tuner.launchers.simulate import SimulatedSession, SimulateLauncher, load_of
from tuner.metrics.window import window_metrics
from tuner.setup.models import resolve_model
from tuner.workload.spec import WorkloadSpec

COSTS = "about: a test\npadded_ms: {16: 7, 128: 20, 512: 60}\ndecode_ms: [0, 0, 0.001]\n"
DEFAULT, ALIGNED = LiveSettings("default", 256), LiveSettings("page_aligned", 128)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("shared_simulation_host")]  # a process that imports vLLM


def _settings(**changes: object) -> EngineSettings:
    model = resolve_model("tiny-qwen3")
    model.prepare()
    base = EngineSettings(
        model="tiny-qwen3",
        model_path=model.path,
        block_size=32,
        max_num_batched_tokens=256,
        max_num_seqs=8,
        max_model_len=512,
        load_format="dummy",
    )
    return base.with_changes(**changes)


def _plan(text: str = "demo") -> LoadPlan:
    return WorkloadSpec.parse(text).plan(resolve_model("tiny-qwen3").vocab_size, 512)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("simulate")
    (made / "steps.yaml").write_text(COSTS)
    return made


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[SimulateLauncher]:
    launcher = SimulateLauncher(simulated_chip(None, str(folder / "steps.yaml"), None, step_noise=0.05), log_dir=folder, seed=1)
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def opened(shared: SimulateLauncher) -> Iterator[SimulatedSession]:
    session = shared.open(_settings(), 120)
    yield session
    session.close()


class TestSimulate(LauncherContract):
    @pytest.fixture
    def launcher(self, shared: SimulateLauncher) -> SimulateLauncher:
        return shared

    @pytest.fixture
    def session(self, opened: SimulatedSession) -> SimulatedSession:
        return opened

    @pytest.fixture
    def settings(self) -> EngineSettings:
        return _settings()

    @pytest.fixture
    def impossible_settings(self) -> EngineSettings:
        return _settings(max_num_seqs=1024)

    @pytest.fixture
    def live(self) -> tuple[LiveSettings, LiveSettings]:
        return DEFAULT, ALIGNED

    @pytest.fixture
    def plan(self) -> LoadPlan:
        return _plan()

    def test_a_launcher_may_be_closed_twice(self, folder: Path) -> None:  # type: ignore[override]
        launcher = SimulateLauncher(simulated_chip(None, str(folder / "steps.yaml"), None), log_dir=folder)
        launcher.close()
        launcher.close()
        assert launcher.name == "simulate"


def test_everything_that_is_stored_says_that_it_is_simulated(opened: SimulatedSession) -> None:
    window = opened.measure(DEFAULT, _plan(), 60)
    assert window.details["simulated"] is True
    assert window.details["step_times"] == "given: a test"
    environment = opened.report.environment
    assert environment["platform"] == "simulated"
    assert environment["accelerator"].startswith("simulated ")
    assert environment["details"]["simulated"] is True


def test_windows_of_a_configuration_differ_and_repeat_between_runs(shared: SimulateLauncher) -> None:
    def durations() -> list[float]:
        session = shared.open(_settings(), 120)
        try:
            return [session.measure(DEFAULT, _plan(), 60).duration_s for _ in range(3)]
        finally:
            session.close()

    first = durations()
    assert len(set(first)) == 3
    assert durations() == first


def test_the_scheduler_is_the_real_one(shared: SimulateLauncher) -> None:
    """The steps of the demo on the real engine (docs/benchmarks.md), most of which the scheduler need not be asked for."""
    session = shared.open(_settings(block_size=16, max_num_batched_tokens=512), 120)
    try:
        for arm, padded in (("default", 2448), ("page_aligned", 2624)):
            window = session.measure(LiveSettings(arm, 128), _plan(), 60)
            assert (len(window.steps), sum(step.padded_tokens for step in window.steps)) == (49, padded)
            assert window.details["scheduler_asked"] < 40
    finally:
        session.close()


def test_in_an_open_loop_requests_wait_for_the_step_that_runs(opened: SimulatedSession) -> None:
    plan = _plan()
    arriving = tuple(replace(request, arrival_s=0.001 * index) for index, request in enumerate(plan.requests))
    window = opened.measure(DEFAULT, replace(plan, requests=arriving, max_concurrency=None, content_hash="open"), 60)
    assert window.latency_from_arrival
    assert max(record.sent_s - record.planned_s for record in window.requests) > 0.001
    starts = {0.0, *(step.start_s for step in window.steps)}
    assert {record.sent_s for record in window.requests} <= starts


def test_idle_time_passes_without_steps(opened: SimulatedSession) -> None:
    plan = _plan()
    far = tuple(replace(request, arrival_s=100.0 * index) for index, request in enumerate(plan.requests))
    window = opened.measure(DEFAULT, replace(plan, requests=far, max_concurrency=None, content_hash="far"), 3600)
    assert window.duration_s > 1300
    assert sum(step.duration_s for step in window.steps) < 20
    assert [record.sent_s for record in window.requests] == [record.planned_s for record in window.requests]


def test_shared_prefixes_hit_the_cache(opened: SimulatedSession) -> None:
    assert window_metrics(opened.measure(DEFAULT, _plan(), 60))["prefix_cache_hit_rate"] > 0.05


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"async_scheduling": True}, "asynchronous scheduling cannot be simulated"),
        ({"num_gpu_blocks": 16}, "16 pages of 32 tokens hold less than one request of 512 tokens"),
        ({"extra_engine_args": {"max_num_seqs": 0}}, "max_num_seqs"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_in_one_line(shared: SimulateLauncher, change: dict[str, object], complaint: str) -> None:
    with pytest.raises((BadInput, TrialFailed), match=complaint) as caught:
        shared.open(_settings(**change), 120)
    assert "\n" not in str(caught.value)


def test_a_schedule_that_stalls_ends_as_a_time_out(shared: SimulateLauncher) -> None:
    """The strict variant never schedules a tail whose whole pages exceed the budget (docs/page-alignment.md)."""
    session = shared.open(_settings(block_size=128, alignment_variant="strict"), 120)
    try:
        with pytest.raises(TrialFailed, match="nothing is scheduled any more") as caught:
            session.measure(LiveSettings("page_aligned", 200), _plan("synthetic:input=150,output=4,requests=2,concurrency=2"), 60)
        assert caught.value.failure is FailureClass.TIMEOUT
        assert session.measure(LiveSettings("default", 200), _plan(), 60).duration_s > 0  # and the engine lives on
    finally:
        session.close()


def test_a_load_has_equal_pages_where_prompts_begin_alike() -> None:
    plan = _plan("synthetic:input=64,output=4,requests=4,prefix_share=0.5,prefix_groups=1,concurrency=2")
    pages = [prompt.pages for prompt in load_of(plan, 16).prompts]
    assert len({found[:2] for found in pages}) == 1
    assert len({found[2] for found in pages}) == 4
    assert all(len(found) == 4 for found in pages)


@pytest.mark.parametrize("most", [1, 2, 5, 8])
def test_no_more_requests_run_at_once_than_the_live_setting_says(most: int, opened: SimulatedSession) -> None:
    """Beyond a lower setting vLLM's scheduler admitted requests all the same, and failed on its own assertion."""
    for arm in ("default", "page_aligned"):
        window = opened.measure(LiveSettings(arm, 128, max_num_seqs=most), _plan(), 600)
        assert max(step.prefill_requests + step.decode_requests for step in window.steps) == most
        assert all(record.finished_s is not None for record in window.requests)


def test_a_long_prompt_is_cut_as_the_live_threshold_says_with_short_cuts_and_without(opened: SimulatedSession) -> None:
    """How many other requests there are decides how much of a prompt a step takes, so none may be hidden from the scheduler then."""
    plan = _plan("synthetic:input=300,output=20-90,requests=12,concurrency=3")

    def most_of_a_prompt(threshold: int | None) -> float:
        window = opened.measure(LiveSettings("default", 256, long_prefill_token_threshold=threshold), plan, 600)
        assert sum(step.prefill_tokens for step in window.steps) == 12 * 300
        mixed = [step for step in window.steps if step.prefill_requests and step.decode_requests]
        return max(step.prefill_tokens / step.prefill_requests for step in mixed)

    assert [most_of_a_prompt(threshold) > 64 for threshold in (None, 64, 0)] == [True, False, True]
    with pytest.raises(TrialFailed, match="between 0 and max_model_len 512") as caught:
        most_of_a_prompt(513)
    assert caught.value.failure is FailureClass.INVALID_CONFIG
