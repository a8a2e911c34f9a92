"""Goodput against rate: requests are the same at every rate, intervals hold the step times' interval, and overload shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.core.contract import LiveSettings, LoadPlan, PlannedRequest
from tuner.core.errors import BadInput
from tuner.foresight.simulated_chip import simulated_chip
from tuner.launchers.rate_sweep import RatePoint, open_loops, sweep
from tuner.launchers.simulate import SimulatedSession, SimulateLauncher
from tuner.metrics.objective import parse_slo, request_limits
from tuner.setup.models import resolve_model
from tuner.setup.study_setup import shared_engine
from tuner.workload.spec import WorkloadSpec

COSTS = "about: a test\npadded_ms: {16: 10, 256: 60}\nlow: 0.7\nhigh: 1.5\n"
LIVE = LiveSettings("default", 256)
LIMITS = request_limits((), [parse_slo("ttft_p99_ms<=500")])

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("shared_simulation_host")]  # a process that imports vLLM


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedSession]:
    from tests.tuner.workbench import config_of

    folder = tmp_path_factory.mktemp("sweep")
    (folder / "steps.yaml").write_text(COSTS)
    model = resolve_model("tiny-qwen3")
    model.prepare()
    engine = shared_engine(config_of(chunk_budgets=[256]), model, max_num_seqs=16, max_model_len=512).with_changes(block_size=32)
    launcher = SimulateLauncher(simulated_chip(None, str(folder / "steps.yaml"), None), log_dir=folder)
    yield launcher.open(engine, 120)
    launcher.close()


@pytest.fixture(scope="module")
def points(session: SimulatedSession) -> dict[float, RatePoint]:
    plans = [spec.plan(2048, 512) for spec in open_loops(WorkloadSpec.parse("mixed-small"), 2)]
    return {point.rate: point for point in sweep(session, plans, [1.0, 60.0], [LIVE], limits=LIMITS, seeds=2)}


def test_what_arrives_slowly_is_served_as_it_comes(points: dict[float, RatePoint]) -> None:
    assert points[1.0].goodput == pytest.approx(1.0, rel=0.1)
    assert points[1.0].metrics["ttft_p99_ms"] < 500


def test_beyond_what_the_engine_serves_requests_come_too_late(points: dict[float, RatePoint]) -> None:
    assert points[60.0].metrics["request_throughput"] < 30
    assert points[60.0].metrics["ttft_p99_ms"] > 500
    assert points[60.0].goodput < points[60.0].metrics["request_throughput"]


def test_the_interval_holds_the_prediction_and_is_wider_where_time_is_short(points: dict[float, RatePoint]) -> None:
    for point in points.values():
        assert point.low <= point.goodput <= point.high
    widths = {rate: (point.high - point.low) / point.goodput for rate, point in points.items()}
    assert widths[60.0] > 3 * widths[1.0]


def test_a_closed_loop_becomes_one_open_loop_a_seed() -> None:
    specs = open_loops(WorkloadSpec.parse("mixed-small"), 3)
    assert [spec.seed for spec in specs] == [0, 1, 2]
    assert {spec.load.request_rate for spec in specs if spec.load is not None} == {1.0}


def test_a_trace_keeps_its_arrivals(tmp_path: Path) -> None:
    trace = tmp_path / "code.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00.0,10,2\n2023-11-16 18:00:09.0,12,3\n")
    (spec,) = open_loops(WorkloadSpec.parse(f"azure:{trace}"), 3)
    assert [request.arrival_s for request in spec.plan(2048, 512).requests] == [0.0, 9.0]


def test_arrivals_all_at_once_have_no_rate(session: SimulatedSession) -> None:
    plan = LoadPlan((PlannedRequest("r0", (1, 2, 3), 4),), None, "at once")
    with pytest.raises(BadInput, match="no arrivals that could be stretched"):
        next(iter(sweep(session, [plan], [1.0], [LIVE], limits=LIMITS, seeds=1)))
