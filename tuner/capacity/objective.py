"""The highest load as a search's objective (`max_request_rate`, `max_concurrency`): every measured window is a search for the edge.

A round then compares edges as it compares throughputs, and verdicts, intervals and recommendations come as for any other metric. The n-th
window of each configuration sends the same requests, so that the arms of a pair differ in nothing else; from the second one on it begins
at the edge that was found before. The metrics beside the edge are those of the busiest window that held.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import override

from storage.records import CapacityWindow
from tuner.capacity.criteria import check_slos, from_json
from tuner.capacity.loads import RATE, LoadKind, kind_of_metrics
from tuner.capacity.question import CapacityQuestion, Prepare, fast, long_enough, open_loop_of
from tuner.capacity.run import served
from tuner.capacity.windows import Windows
from tuner.core.contract import (
    Answered,
    EngineSession,
    EngineSettings,
    Json,
    Launcher,
    LiveSettings,
    LoadPlan,
    ProfileResult,
    ProfileTarget,
    StartReport,
    WindowResult,
)
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.core.factors import LIVE_FACTORS, factors_of
from tuner.metrics.objective import is_feasible
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration
from tuner.setup.study_setup import StudySetup
from tuner.stats.edge_search import EdgeSearch, EdgeWindow
from tuner.workload.spec import WorkloadSpec

WINDOWS = 8  # of one search for the edge
PRECISION = 0.05
APART = 16  # draws between two searches of a configuration: more than one search takes, repeats included


def capacity_config(config: StudyConfig, prepare: Prepare) -> StudyConfig:
    """The configuration of such a search, with its workload as an open loop. Raises BadInput for what has no edge."""
    if len(config.objectives) > 1:
        raise BadInput(f"{kind_of(config).metric} stands alone: other metrics depend on the load", setting="objective", fix="name it alone")
    check_slos(config.limits)
    spec = open_loop_of(config)
    kind_of(config).check(spec)
    return long_enough(config.model_copy(update={"workload": fast(spec).to_json()}), prepare, spec)


def kind_of(config: StudyConfig) -> LoadKind:
    return kind_of_metrics(item.metric for item in config.objectives) or RATE


class CapacityLauncher:
    """Owns the launcher that it measures with."""

    def __init__(self, inner: Launcher, setup: StudySetup) -> None:
        self._inner = inner
        self._setup = setup
        self.name = inner.name
        self.live_fields = inner.live_fields

    def open(self, settings: EngineSettings, timeout_s: float) -> EngineSession:
        return CapacitySession(self._inner.open(settings, timeout_s), settings, self._setup)

    def close(self) -> None:
        self._inner.close()


class CapacitySession(EngineSession):
    """See the module."""

    def __init__(self, session: EngineSession, settings: EngineSettings, setup: StudySetup) -> None:
        self._session = session
        self.generates = session.generates
        self._settings = settings
        self._setup = setup
        self._spec: WorkloadSpec = open_loop_of(setup.config)
        self._first: dict[LiveSettings, float] = {}
        self._searches: Counter[LiveSettings] = Counter()

    @property
    @override
    def report(self) -> StartReport:
        return self._session.report

    @override
    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        question = self._question(live)
        burst = question.burst()
        found = self._session.warm_up(live, burst, timeout_s)
        at_most = served(self._session.measure(live, burst, timeout_s))
        self._first[live] = question.first(at_most)
        quiet = question.quiet(at_most)
        self._session.warm_up(live, quiet, timeout_s + quiet.last_arrival_s)
        return found

    @override
    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        """Also raises TrialFailed where no rate within reach meets the SLOs."""
        begun = time.time()
        question = self._question(live)
        windows = Windows(question, self._session, run_id=0, number=APART * self._searches[live])
        self._searches[live] += 1
        search = EdgeSearch(question.ask(self._first[live], None, WINDOWS, PRECISION))
        measured: list[CapacityWindow] = []
        while (load := search.next_load()) is not None:
            measured += windows.until_usable(load)
            search.add(EdgeWindow(load, from_json(measured[-1].readings)))
        found = search.estimate()
        edge = found.edge if found is not None else search.highest_held
        if edge is None:
            slos, lowest = " and ".join(map(str, self._setup.slos)), min(item.load for item in measured)
            told = f"no {question.kind.noun} meets {slos}: not {question.kind.told(lowest)} either"
            raise TrialFailed(FailureClass.INVALID_MEASUREMENT, told)
        self._first[live] = edge
        details: Json = {"edge": {"low": found.low, "high": found.high} if found is not None else {"low": edge}, "curve": _curve(measured)}
        reported = {**self._at_the_edge(measured), question.kind.metric: edge}
        return WindowResult((), (), begun, time.time() - begun, reported_metrics=reported, details=details)

    @override
    def answer(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Sequence[Answered]:
        return self._session.answer(live, plan, timeout_s)

    @property
    @override
    def profile_phases(self) -> tuple[str, ...]:
        return self._session.profile_phases

    @override
    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        return self._session.profile(live, plan, target, phase=phase, timeout_s=timeout_s)

    @override
    def close(self) -> None:
        self._session.close()

    def _question(self, live: LiveSettings) -> CapacityQuestion:
        factors = factors_of({name: level for name in LIVE_FACTORS if (level := getattr(live, name)) is not None})
        configuration = Configuration(self._settings.block_size, live.max_num_batched_tokens, live.arm, factors)
        return CapacityQuestion(self._setup, self._spec, configuration, self._settings, kind_of(self._setup.config))

    def _at_the_edge(self, measured: Sequence[CapacityWindow]) -> Json:
        """The metrics of the busiest window that met every SLO; empty where none did to the letter."""
        met = [item for item in measured if item.held and is_feasible(self._setup.slos, item.metrics)]
        return dict(max(met, key=lambda item: item.load).metrics) if met else {}


def _curve(measured: Sequence[CapacityWindow]) -> list[Json]:
    return [
        {"rate": item.load, "held": item.held, "goodput": item.metrics.get("goodput"), "invalid_reason": item.invalid_reason}
        for item in sorted(measured, key=lambda item: item.load)
    ]
