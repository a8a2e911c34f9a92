"""The simulator's scheduling decisions are the real engine's, step by step, on the same arrivals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugins.engine import VOCABULARY, Reference, SharedEngines
from tuner.core.contract import LiveSettings, WindowResult
from tuner.foresight.simulated_chip import simulated_chip
from tuner.launchers.simulate import SimulatedSession, SimulateLauncher
from tuner.workload.spec import WorkloadSpec

LOAD = "synthetic:input=20-300,output=40-140,requests=60,prefix_share=0.3,prefix_groups=3,concurrency=8"
TIMEOUT_S = 300.0

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900), pytest.mark.usefixtures("shared_simulation_host")]


@pytest.fixture(scope="module")
def simulated(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedSession]:
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "steps.yaml").write_text("about: a test\npadded_ms: {16: 7, 256: 40}\n")
    launcher = SimulateLauncher(simulated_chip(None, str(folder / "steps.yaml"), None), log_dir=folder)
    yield launcher.open_for(reference.settings(32), {}, TIMEOUT_S)
    launcher.close()


def _decisions(window: WindowResult) -> list[tuple[int, ...]]:
    return [
        (step.scheduled_tokens, step.padded_tokens, step.prefill_tokens, step.prefill_requests, step.decode_requests)
        for step in window.steps
    ]


@pytest.mark.parametrize("arm", ["default", "page_aligned"])
def test_every_step_is_the_engines(arm: str, engines: SharedEngines, simulated: SimulatedSession) -> None:
    plan = WorkloadSpec.parse(LOAD).plan(VOCABULARY, 512)
    live = LiveSettings(arm, 128)
    real = engines(32).measure(live, plan, TIMEOUT_S)
    predicted = simulated.measure(live, plan, TIMEOUT_S)
    assert len(real.steps) >= 500
    assert _decisions(predicted) == _decisions(real)
    cached = [[record.cached_tokens for record in window.requests] for window in (predicted, real)]
    assert cached[0] == cached[1]
    assert len(set(_decisions(real))) > 20  # not one and the same step
