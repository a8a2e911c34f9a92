"""`max_request_rate` as the objective of a search, on a queue whose capacity depends on the settings."""

from __future__ import annotations

from typing import Any

import pytest

from service.pages.edge_view import edge_curve
from storage.records import TrialState
from tests.tuner.capacity.queue_engine import QueueLauncher, QueueSession
from tests.tuner.workbench import Workbench
from tuner.capacity.loads import CONCURRENCY
from tuner.capacity.objective import CapacityLauncher, capacity_config
from tuner.core.contract import ARM_PAGE_ALIGNED, EngineSettings, LiveSettings, LoadPlan, WindowResult
from tuner.core.errors import BadInput
from tuner.metrics.catalog import MAX_CONCURRENCY, MAX_REQUEST_RATE
from tuner.setup.config import StudyConfig
from tuner.setup.config_file import load_config
from tuner.setup.study_setup import StudySetup, prepare_study

pytestmark = pytest.mark.slow  # each window is a search

ASKED: dict[str, Any] = {
    "model": "tiny-qwen3",
    "page_sizes": [32],
    "chunk_budgets": [256],
    "workload": "synthetic:input=8,output=2,requests=300,concurrency=4",
    "objective": MAX_REQUEST_RATE,
    "slos": ["ttft_p90_ms<=200"],
    "rounds": 3,
    "profile": "none",
}


class TwoArms(QueueLauncher):
    """The page-aligned arm serves in half the time, or never in time at all."""

    aligned_s = 0.05

    def open(self, settings: EngineSettings, timeout_s: float) -> QueueSession:
        super().open(settings, timeout_s)
        return TwoArmsSession(self, settings)


class TwoArmsSession(QueueSession):
    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        launcher = self._launcher
        assert isinstance(launcher, TwoArms)
        launcher.service_s = launcher.aligned_s if live.arm == ARM_PAGE_ALIGNED else 0.1
        return super().measure(live, plan, timeout_s)


def _setup(**changes: Any) -> StudySetup:
    return prepare_study(_config(**changes))


def _config(**changes: Any) -> StudyConfig:
    return capacity_config(load_config(None, {**ASKED, **changes}, unnamed="s"), prepare_study)


def _run(bench: Workbench, launcher: QueueLauncher, config: StudyConfig) -> None:
    """As `tuner search` does."""
    bench.run(CapacityLauncher(launcher, prepare_study(config)), **{name: getattr(config, name) for name in ASKED})


def test_a_window_is_a_search_for_the_edge() -> None:
    setup = _setup()
    session = CapacityLauncher(QueueLauncher(), setup).open(setup.group_engine(32), 10)
    [default, _] = setup.space.configurations
    session.warm_up(default.live, setup.plan, 600)
    window = session.measure(default.live, setup.plan, 600)
    found = window.reported_metrics
    assert found[MAX_REQUEST_RATE] == pytest.approx(31.3, rel=0.15)
    assert found["ttft_p90_ms"] <= 200
    assert len(window.details["curve"]) <= 8
    assert window.details["edge"]["low"] < found[MAX_REQUEST_RATE] < window.details["edge"]["high"]


def test_both_arms_get_the_same_requests_and_each_search_others() -> None:
    plans: dict[str, list[str]] = {}
    setup = _setup()
    seen: list[str] = []

    def note(window: WindowResult, plan: LoadPlan, nth: int) -> WindowResult:
        seen.append(str(plan.requests[0].prompt_token_ids))
        return window

    launcher = QueueLauncher(change=note)
    session = CapacityLauncher(launcher, setup).open(setup.group_engine(32), 10)
    for configuration in setup.space.configurations:
        session.warm_up(configuration.live, setup.plan, 600)
    for attempt in ("first", "second"):
        for configuration in setup.space.configurations:
            seen.clear()
            session.measure(configuration.live, setup.plan, 600)
            plans[f"{attempt} {configuration.arm}"] = seen[:4]
    assert plans["first default"] == plans["first page_aligned"]
    assert not set(plans["first default"]) & set(plans["second default"])


def test_a_search_compares_edges_and_recommends_the_highest(bench: Workbench) -> None:
    config = _config()
    _run(bench, TwoArms(), config)
    [study] = bench.storage.list_studies()
    default, aligned = bench.storage.list_trials(study.id)[:2]
    assert (default.values or {})[MAX_REQUEST_RATE] == pytest.approx(31.3, rel=0.12)
    assert (aligned.values or {})[MAX_REQUEST_RATE] == pytest.approx(71.0, rel=0.12)
    verdicts = {comparison.metric: comparison.verdict for comparison in bench.storage.list_comparisons(study.id)}
    assert verdicts[MAX_REQUEST_RATE] == "better"
    [recommendation] = bench.storage.list_recommendations()
    assert recommendation.body["settings"]["arm"] == ARM_PAGE_ALIGNED


def test_the_most_requests_at_once_are_compared_and_recommended(bench: Workbench) -> None:
    """With n at once n - 4 wait for one of 4 servers: 90 % begin within 200 ms up to n = 8 by tables of Erlang's distribution, with
    services of half that time up to 14."""
    config = _config(objective=MAX_CONCURRENCY)
    launcher = TwoArms()
    _run(bench, launcher, config)
    [study] = bench.storage.list_studies()
    default, aligned = bench.storage.list_trials(study.id)[:2]
    assert (default.values or {})[MAX_CONCURRENCY] == pytest.approx(8, abs=1)
    assert (aligned.values or {})[MAX_CONCURRENCY] == pytest.approx(14, abs=1)
    verdicts = {comparison.metric: comparison.verdict for comparison in bench.storage.list_comparisons(study.id)}
    assert verdicts[MAX_CONCURRENCY] == "better"
    window = bench.windows(aligned)[0]
    assert all(point["rate"] == round(point["rate"]) for point in window.details["curve"])
    curve = edge_curve(bench.windows(aligned), None, CONCURRENCY)
    assert curve is not None and curve.kind is CONCURRENCY and len(curve.points) > 2
    with pytest.raises(BadInput, match="think times"):
        _config(objective=MAX_CONCURRENCY, workload="sessions:sessions=9,turns=2,input=8,output=2,think_s=1,rate=2")


def test_a_configuration_that_meets_the_slos_at_no_rate_fails_without_a_value(bench: Workbench) -> None:
    launcher = TwoArms()
    launcher.aligned_s = 5.0
    config = _config(slos=["e2el_p90_ms<=1000"], rounds=1)
    _run(bench, launcher, config)
    [study] = bench.storage.list_studies()
    default, aligned = bench.storage.list_trials(study.id)[:2]
    assert default.state is TrialState.COMPLETE
    assert (aligned.state, aligned.values) == (TrialState.FAIL, None)
    assert "no rate meets e2el_p90_ms<=1000" in str(aligned.error_message)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slos": []}, "needs a limit that has to hold"),
        ({"objective": f"{MAX_REQUEST_RATE},throughput"}, "stands alone"),
        ({"slos": ["request_throughput>=3"]}, "does not get worse with the load"),
    ],
)
def test_what_has_no_edge_is_refused_before_anything_starts(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        _config(**changes)


def test_bursts_stay_bursts() -> None:
    config = _config(workload="synthetic:input=8,output=2,requests=30,rate=5,burstiness=0.3")
    assert isinstance(config.workload, dict)
    assert config.workload["load"]["burstiness"] == 0.3
