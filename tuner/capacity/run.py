"""One search for the highest load within the SLOs, in one running engine. Every window is stored the moment it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from storage.base import Storage
from storage.records import CapacityChanges, CapacityRun, CapacityState, CapacityWindow
from tuner.capacity.criteria import from_json
from tuner.capacity.question import CapacityQuestion
from tuner.capacity.windows import Windows
from tuner.core.contract import EngineSession, Launcher, WindowResult
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.metrics.window import is_completed
from tuner.stats.edge_search import EdgeAsk, EdgeSearch, EdgeWindow
from tuner.trials.engines import check_effective, environment_of, launcher_errors
from tuner.trials.guard import Guard, InMemory


@dataclass(frozen=True)
class CapacityAsk:
    """`first`: the load to begin with; None: from what the engine serves at most. `highest`: no higher load is tried."""

    max_windows: int
    precision: float
    first: float | None = None
    highest: float | None = None


class CapacitySearch:
    """`tell` is called with each new window, and with what is being done."""

    def __init__(
        self,
        question: CapacityQuestion,
        ask: CapacityAsk,
        storage: Storage,
        launcher: Launcher,
        tell: Callable[[str, CapacityWindow | None], None],
    ) -> None:
        self._question = question
        self._ask = ask
        self._storage = storage
        self._launcher = launcher
        self._tell = tell

    def earlier(self) -> CapacityRun | None:
        """The newest run of the same question."""
        question = self._question
        workload = question.workload().content_hash
        for run in self._storage.list_capacity_runs(model=question.config.model, workload=workload):
            asked = (run.launcher, run.slos, run.requested, run.question)
            if asked == (self._launcher.name, [str(slo) for slo in question.slos], question.requested, question.depends_on):
                return run
        return None

    def run(self, resumed: CapacityRun | None = None) -> CapacityRun:
        """The finished run. Raises TrialFailed where the engine does not start or is lost; what was measured stays. And BadInput where a
        built-in model cannot be written."""
        known = [] if resumed is None else list(self._storage.list_capacity_windows(resumed.id))
        usable = [EdgeWindow(item.load, from_json(item.readings)) for item in known if item.invalid_reason is None]
        if usable:
            search = EdgeSearch(self._edge_ask(usable[0].load), usable)
            if resumed is not None and search.next_load() is None:
                return self._finish(resumed, search)
        self._question.setup.model.prepare()  # before a run exists: it may find that the cache cannot be written
        run = resumed or self._create()
        try:
            return self._measure(run, usable, len(known))
        except TrialFailed as error:
            self._end(run, CapacityState.FAIL, str(error))
            raise
        except BaseException:
            self._end(run, CapacityState.INTERRUPTED, None)
            raise

    def _create(self) -> CapacityRun:
        question = self._question
        workload = question.workload()
        self._storage.put_workload(workload)
        return self._storage.create_capacity_run(
            CapacityRun(
                model=question.config.model,
                workload_hash=workload.content_hash,
                launcher=self._launcher.name,
                slos=[str(slo) for slo in question.slos],
                question=question.depends_on,
                requested=question.requested,
            )
        )

    def _measure(self, run: CapacityRun, usable: list[EdgeWindow], number: int) -> CapacityRun:
        question = self._question
        self._tell("starting the engine", None)
        with launcher_errors("starting the engine"):
            session = self._launcher.open(question.engine, question.config.engine_start_timeout)
        try:
            with launcher_errors("starting the engine"):
                check_effective(question.engine, session)
            highest_served = self._warm_up(session)
            run = self._started(run, session)
            self._check_answers(session)
            first = usable[0].load if usable else self._ask.first or question.first(highest_served)
            search = EdgeSearch(self._edge_ask(first), usable)
            windows = Windows(question, session, run.id, number)
            while (load := search.next_load()) is not None:
                for window in windows.until_usable(load):
                    self._tell("", self._storage.add_capacity_window(window))
                search.add(EdgeWindow(load, from_json(window.readings)))
            return self._finish(run, search)
        finally:
            session.close()

    def _edge_ask(self, first: float) -> EdgeAsk:
        ask = self._ask
        return self._question.ask(first, ask.highest, ask.max_windows, ask.precision)

    def _warm_up(self, session: EngineSession) -> float:
        """Compile what large and small batches need. Requests/s that the engine serves where all come at once."""
        question = self._question
        live, timeout_s, burst = question.live, question.config.trial_timeout, question.burst()
        with launcher_errors("warming up"):
            self._tell("warming up", None)
            session.warm_up(live, burst, timeout_s)
            at_most = served(session.measure(live, burst, timeout_s))
            quiet = question.quiet(at_most)
            session.warm_up(live, quiet, timeout_s + quiet.last_arrival_s)
        return at_most

    def _check_answers(self, session: EngineSession) -> None:
        """Against the default arm in the same engine, and one by one. Raises TrialFailed: a load that is served wrongly is not served."""
        question = self._question
        if not (session.generates and question.config.guard):
            return
        live_arms = "arm" in self._launcher.live_fields
        timeout_s = question.config.trial_timeout
        guard = Guard(question.setup.canaries, (), question.engine, InMemory(), timeout_s, arms_live=live_arms)
        with launcher_errors("checking answers"):
            self._tell("checking answers", None)
            guard.check(session, question.engine, question.live, str(question.configuration))

    def _started(self, run: CapacityRun, session: EngineSession) -> CapacityRun:
        """Raises BadInput where earlier windows were measured in another environment."""
        environment = environment_of(session)
        if run.environment not in (None, environment.fingerprint):
            raise BadInput("its windows were measured on another machine or with other versions", setting="resume", fix="leave it out")
        self._storage.put_environment(environment)
        return self._storage.update_capacity_run(
            run.id, state=CapacityState.RUNNING, environment=environment.fingerprint, effective=session.report.effective
        )

    def _finish(self, run: CapacityRun, search: EdgeSearch) -> CapacityRun:
        """What the windows say, also where they were too few to end the search."""
        found = search.estimate()
        if found is not None:
            changes: CapacityChanges = {"edge": found.edge, "low": found.low, "high": found.high}
            return self._end(run, CapacityState.FOUND, None, changes)
        state = CapacityState.NONE if search.highest_held is None else CapacityState.AT_LEAST
        return self._end(run, state, None, {"edge": search.highest_held, "low": search.highest_held, "high": None})

    def _end(self, run: CapacityRun, state: CapacityState, reason: str | None, changes: CapacityChanges | None = None) -> CapacityRun:
        ended: CapacityChanges = {**(changes or {}), "reason": reason, "finished_at": time.time()}
        return self._storage.update_capacity_run(run.id, state=state, **ended)


def served(result: WindowResult) -> float:
    """Requests/s. Raises TrialFailed where none completed."""
    completed = sum(is_completed(record) for record in result.requests)
    if not completed or result.duration_s <= 0:
        raise TrialFailed(FailureClass.REQUEST_FAILED, "no request of the warm-up completed")
    return completed / result.duration_s
