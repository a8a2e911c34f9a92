"""The same question twice in a row on the real engine: the two answers agree within their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import override

import pytest

from storage.base import Storage
from storage.records import CapacityRun, CapacityState
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


def test_twice_in_a_row_the_intervals_meet(storage: Storage, engines: SharedEngines, question: CapacityQuestion) -> None:
    session = engines(32)
    session.warm_up(question.live, question.burst(), 120)
    window = session.measure(question.live, question.load(0, 8.0), 120)
    limit_ms = SLOWER * window_metrics(window)["ttft_p50_ms"]

    def searched(seed: int) -> CapacityRun:
        ask = CapacityAsk(max_windows=WINDOWS, precision=0.05)
        return CapacitySearch(limited(question, limit_ms, seed), ask, storage, Running(session), lambda text, window: None).run()

    first, second = searched(1), searched(2)
    assert (first.state, second.state) == (CapacityState.FOUND, CapacityState.FOUND)
    assert max(first.low or 0, second.low or 0) <= min(first.high or 0, second.high or 0)
    assert (first.low or 0) > 1.0, "a quiet engine meets four times its own latency"
