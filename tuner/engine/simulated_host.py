"""The host of simulated engines: forks one process for each, with vLLM imported already (forking.py says why). No engine runs in them.

python -m tuner.engine.simulated_host FD PARENT_PID PROTOCOL_VERSION
"""

from __future__ import annotations

import gc
import importlib
import socket
import time
import traceback
from dataclasses import asdict, replace
from typing import Any, override

from tuner.core.contract import StartReport
from tuner.engine.environment import configured, versions
from tuner.engine.forking import ChannelHost, answer_requests, error_reply, one_line, run_host
from tuner.engine.messages import Nothing, Reconfigure
from tuner.engine.owner import classify
from tuner.engine.protocol import ProtocolViolation, Request, read_message
from tuner.engine.real_schedule import RealSchedule
from tuner.engine.replay import Load, Replay, Replayed
from tuner.engine.simulation import Simulate, Simulated, SimulatedLoad, SimulatedRequest, SimulatedSteps, StartSimulated
from tuner.engine.step_costs import StepClock, StepCosts
from tuner.engine.wire_fields import to_fields
from tuner.workload.saturation import CHECK_EVERY, saturation

Json = dict[str, Any]
_IMPORTED = (
    "vllm.engine.arg_utils",
    "vllm.v1.core.sched.scheduler",
    "vllm.v1.structured_output",
    "vllm.v1.outputs",
    "tpu_inference.runner.utils",
)


class SimulatedForker(ChannelHost):
    @override
    def import_engine(self) -> None:
        for name in _IMPORTED:
            importlib.import_module(name)
        importlib.import_module("vllm.plugins").load_general_plugins()

    @override
    def serve_child(self, channel: socket.socket) -> None:
        engine: SimulatedEngine | None = None

        def answer(request: Request) -> Json:
            nonlocal engine
            try:
                if request.op == "start":
                    asked = read_message(StartSimulated, request.params, "start")
                    engine = SimulatedEngine(asked.engine_args, asked.costs)
                return {"result": to_fields(_started(engine).answer(request))}
            except Exception as error:  # noqa: BLE001 - every failure is answered, classified, and in the log
                traceback.print_exc()
                return error_reply(classify(error, starting=request.op == "start"), one_line(error))

        answer_requests(channel, answer)


def _started(engine: SimulatedEngine | None) -> SimulatedEngine:
    if engine is None:
        raise ProtocolViolation("no engine was started")
    return engine


class SimulatedEngine:
    """The real scheduler, and a clock in place of everything else."""

    def __init__(self, engine_args: Json, costs: StepCosts) -> None:
        """Raises what vLLM raises for arguments that it refuses."""
        begun = time.perf_counter()
        self._costs = costs
        self._schedule = RealSchedule(engine_args)
        self._loads: dict[str, Load] = {}
        gc.collect()
        gc.freeze()  # vLLM's own objects, which stay: looking through them would take longer than a window
        self._start_s = time.perf_counter() - begun

    def answer(self, request: Request) -> StartReport | Nothing | Simulated:
        """Raises ProtocolViolation for an unknown operation or message."""
        match request.op:
            case "start":
                return self._report()
            case "load":
                message = read_message(SimulatedLoad, request.params, request.op)
                self._loads = {message.key: message.load}
                return Nothing()
            case "reconfigure":
                self._reconfigure(read_message(Reconfigure, request.params, request.op))
                return Nothing()
            case "measure":
                return self._measure(read_message(Simulate, request.params, request.op))
        raise ProtocolViolation(f"unknown operation {request.op!r}")

    def _report(self) -> StartReport:
        effective = configured(self._schedule.config) | {"token_buckets": self._schedule.buckets}
        return StartReport(effective, environment={"versions": versions()}, start_s=self._start_s)

    def _reconfigure(self, message: Reconfigure) -> None:
        """The method that the plugin gives to vLLM's EngineCore, which looks at the scheduler alone."""
        from vllm.v1.engine.core import EngineCore

        EngineCore.tuner_reconfigure(self._schedule, **asdict(message))

    def _measure(self, message: Simulate) -> Simulated:
        if message.key not in self._loads:
            raise ProtocolViolation(f"no load {message.key!r} was given")
        begun, busy_s, started_at = time.perf_counter(), time.process_time(), time.time()
        gc.collect()
        gc.disable()
        try:
            costs = self._costs if message.costs == 1 else self._costs.scaled(message.costs)
            load = self._loads[message.key]
            if message.arrivals != 1:
                load = replace(load, arrivals_s=tuple(arrival * message.arrivals for arrival in load.arrivals_s))
            stop = saturation if message.stop_when_saturated else None
            found = Replay(self._schedule, StepClock(costs, message.seed)).run(load, message.timeout_s, stop, CHECK_EVERY)
        finally:
            gc.enable()
        return _answer(found, started_at, time.perf_counter() - begun, time.process_time() - busy_s)


def _answer(found: Replayed, started_at: float, wall_s: float, cpu_s: float) -> Simulated:
    steps = SimulatedSteps(
        start_s=tuple(found.steps.start_s),
        duration_s=tuple(found.steps.duration_s),
        **{name: tuple(column) for name, column in found.steps.columns().items()},
    )
    requests = tuple(
        SimulatedRequest(
            request_id=item.prompt.request_id,
            planned_s=item.planned_s,
            sent_s=item.sent_s,
            runs=tuple(item.runs),
            cached_tokens=item.cached_tokens,
            preemptions=item.preemptions,
            finished_s=item.finished_s,
        )
        for item in found.sent
    )
    return Simulated(
        requests=requests,
        steps=steps,
        started_at=started_at,
        duration_s=found.duration_s,
        wall_s=wall_s,
        cpu_s=cpu_s,
        stopped=found.stopped,
        asked=found.asked,
        held_back=found.held_back,
    )


if __name__ == "__main__":
    run_host(SimulatedForker)
