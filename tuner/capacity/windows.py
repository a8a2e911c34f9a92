"""Windows under a load in a running engine: each with requests of its own, repeated where it was disturbed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from storage.records import CapacityWindow
from tuner.capacity.criteria import KEEPS_UP, keeps_up, readings_of, to_json
from tuner.capacity.question import CapacityQuestion
from tuner.core.contract import EngineSession, Json, LoadPlan, WindowResult
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.engine.cpu_contention import CONTENTION
from tuner.metrics.window import RECOMPILED, SATURATED, window_fault, window_metrics
from tuner.stats.edge import Side
from tuner.stats.edge_search import EdgeWindow
from tuner.trials.engines import launcher_errors
from tuner.trials.idle import is_busy, wait_until_idle
from tuner.trials.trial import BUSY

MAX_DISTURBED = 2  # repeats of a window that others disturbed
MAX_COMPILING = 12  # of one in which something was compiled: new requests make batches of new sizes, but of these there are few
PATIENCE = 3.0  # times what the arrivals last: a window that takes longer is given up, and has not held


class Windows:
    """`number`: of the next window of the run."""

    def __init__(self, question: CapacityQuestion, session: EngineSession, run_id: int, number: int) -> None:
        self._question = question
        self._session = session
        self._run_id = run_id
        self._number = number
        self._contentions: list[float] = []

    def until_usable(self, load: float) -> Iterator[CapacityWindow]:
        """Windows under this load, to be stored; the last one is valid. Raises TrialFailed where none is, and what `measure` raises."""
        left = {BUSY: MAX_DISTURBED, RECOMPILED: MAX_COMPILING}
        while True:
            window = self._measured(load, accept_busy=not left[BUSY])
            self._number += 1
            yield window
            if window.invalid_reason is None:
                return
            if not left.get(window.invalid_reason):
                break
            left[window.invalid_reason] -= 1
            if window.invalid_reason == BUSY:
                wait_until_idle(self._contentions)
        told = self._question.kind.told(load)
        raise TrialFailed(FailureClass.INVALID_MEASUREMENT, f"no window at {told} can be used: {window.invalid_reason}")

    def _measured(self, load: float, *, accept_busy: bool) -> CapacityWindow:
        question = self._question
        plan = replace(question.load(self._number, load), stop_when_saturated=question.kind.open_loop)
        timeout_s = max(question.config.trial_timeout, PATIENCE * plan.last_arrival_s)
        begun = time.time()
        try:
            with launcher_errors(f"measuring {question.kind.told(load)}"):
                result = self._session.measure(question.live, plan, timeout_s)
        except EngineLost:
            raise
        except TrialFailed as error:
            if error.failure is not FailureClass.TIMEOUT:
                raise
            return self._without_value(load, begun, timeout_s, str(error))
        return self._judged(load, plan, result, accept_busy=accept_busy)

    def _judged(self, load: float, plan: LoadPlan, result: WindowResult, *, accept_busy: bool) -> CapacityWindow:
        question = self._question
        open_loop = question.kind.open_loop
        metrics = window_metrics(result, limits=question.limits, open_loop=open_loop)
        readings = readings_of(result, metrics, question.slos, kept_up=keeps_up(result, plan) if open_loop else None)
        reason = self._fault(result, metrics, accept_busy=accept_busy)
        return CapacityWindow(
            run_id=self._run_id,
            number=self._number,
            load=load,
            started_at=result.started_at,
            duration_s=result.duration_s,
            held=reason is None and EdgeWindow(load, readings).held,
            metrics=metrics,
            readings=to_json(readings),
            invalid_reason=reason,
            details={} if result.stopped is None else {"stopped": result.stopped},
        )

    def _fault(self, result: WindowResult, metrics: Json, *, accept_busy: bool) -> str | None:
        """A saturated window counts here: it did not hold."""
        fault = window_fault(result, metrics)
        contention = result.details.get(CONTENTION)
        if fault in (None, SATURATED) and not accept_busy and is_busy(contention, self._contentions):
            fault = BUSY
        if contention is not None:
            self._contentions.append(float(contention))
        return None if fault == SATURATED else fault

    def _without_value(self, load: float, begun: float, duration_s: float, why: str) -> CapacityWindow:
        return CapacityWindow(
            run_id=self._run_id,
            number=self._number,
            load=load,
            started_at=begun,
            duration_s=duration_s,
            held=False,
            metrics={},
            readings=to_json({KEEPS_UP: Side(held=False)}),
            details={"stopped": why},
        )
