"""A search for the highest rate within an SLO on the real engine. How well two answers agree: `python -m bench.capacity_twice`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import override

import pytest

from storage.base import Storage
from storage.records import CapacityState
from tests.plugins.engine import Reference, SharedEngines
from tuner.capacity.question import CapacityQuestion, question_of
from tuner.capacity.run import CapacityAsk, CapacitySearch
from tuner.core.contract import (
    EngineSession,
    EngineSettings,
    Json,
    LiveSettings,
    LoadPlan,
    ProfileResult,
    ProfileTarget,
    StartReport,
    WindowResult,
)
from tuner.launchers.local import LocalSession
from tuner.metrics.objective import parse_slo
from tuner.metrics.window import window_metrics
from tuner.setup.config_file import load_config
from tuner.setup.study_setup import prepare_study
from tuner.stats.edge_search import MARGIN

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

WORKLOAD = "synthetic:input=32,output=4,requests=60,rate=1"
WINDOWS = 6
SLOWER = 4.0  # the limit: so many times the median time to first token of a quiet engine


class Running:
    """A launcher that gives the session's engine, and leaves it to other tests."""

    name = "local"
    live_fields = frozenset({"arm", "max_num_batched_tokens", "max_num_seqs"})

    def __init__(self, session: LocalSession) -> None:
        self._session = session

    def open(self, settings: EngineSettings, timeout_s: float) -> EngineSession:
        return LentSession(self._session)

    def close(self) -> None: ...


class LentSession(EngineSession):
    """The session, which is closed by its owner."""

    def __init__(self, session: LocalSession) -> None:
        self._session = session

    @property
    @override
    def report(self) -> StartReport:
        return self._session.report

    @override
    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        return self._session.warm_up(live, plan, timeout_s)

    @override
    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        return self._session.measure(live, plan, timeout_s)

    @property
    @override
    def profile_phases(self) -> tuple[str, ...]:
        return ()

    @override
    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        return ()

    @override
    def close(self) -> None: ...


@pytest.fixture
def question(reference: Reference) -> CapacityQuestion:
    """Its SLO holds nowhere; `limited` has another."""
    given = {
        "model": str(reference.model_path),
        "workload": WORKLOAD,
        "slos": ["ttft_p90_ms<=1"],
        "page_sizes": [32],
        "chunk_budgets": [256],
        "arms": ["default"],
        "max_num_seqs": 8,
        "max_model_len": 512,
        "dtype": "float32",
        "platform": "cpu",
    }
    return question_of(load_config(None, given, unnamed="capacity"), prepare_study, None)


def limited(question: CapacityQuestion, limit_ms: float, seed: int) -> CapacityQuestion:
    """The same engine and other requests; making it anew would ask vLLM about the model again."""
    setup = replace(question.setup, slos=(parse_slo(f"ttft_p90_ms<={limit_ms:.1f}"),))
    return replace(question, setup=setup, spec=question.spec.model_copy(update={"seed": seed}))


def test_the_highest_rate_is_found_between_the_rates_that_were_measured(
    storage: Storage, engines: SharedEngines, question: CapacityQuestion
) -> None:
    session = engines(32)
    session.warm_up(question.live, question.burst(), 120)
    window = session.measure(question.live, question.load(0, 8.0), 120)
    asked = limited(question, SLOWER * window_metrics(window)["ttft_p50_ms"], seed=1)
    found = CapacitySearch(asked, CapacityAsk(WINDOWS, 0.05), storage, Running(session), lambda text, window: None).run()
    assert found.state == CapacityState.FOUND
    assert found.low is not None and found.edge is not None and found.high is not None
    assert 0 < found.low < found.edge < found.high
    windows = storage.list_capacity_windows(found.id)
    loads = [item.load for item in windows if item.invalid_reason is None]
    assert len(loads) == WINDOWS, "one window a rate, and every rate is stored"
    assert min(loads) / MARGIN < found.edge < max(loads) * MARGIN
