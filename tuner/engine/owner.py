"""The engine process: owns one vLLM engine and answers measure, reconfigure, profile, reset and shutdown."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tuner.core.contract import LoadPlan, PlannedRequest
from tuner.engine import environment
from tuner.engine.cpu_share import CpuShare
from tuner.engine.protocol import ConnectionLost, receive, send
from tuner.engine.stepping import CompileCounter, SteppedLlmEngine
from tuner.engine.tracing import capture_phase
from tuner.workload.client import DrivenWindow, WindowTimeout, drive
from tuner.workload.phases import PhaseLoad
from tuner.workload.saturation import CHECK_EVERY, saturation

Json = dict[str, Any]
OUT_OF_MEMORY_SIGNS = (
    "RESOURCE_EXHAUSTED",
    "out of memory",
    "Out of memory",
    "No available memory for the cache blocks",
    "exceeds total_hbm_limit",
)


def classify(error: BaseException, *, starting: bool) -> str:
    """The failure class (tuner.core.errors.FailureClass value) of an exception from vLLM, JAX or the driver."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY_SIGNS):
        return "out_of_memory"
    if isinstance(error, WindowTimeout):
        return "timeout"
    if isinstance(error, ValueError | NotImplementedError):
        return "invalid_config"
    return "startup" if starting else "engine_crash"


def one_line(error: BaseException) -> str:
    """The exception's message as one line; pydantic and vLLM put the useful sentence first."""
    words = " ".join(str(error).split())
    return (words or type(error).__name__)[:500]


def serve(sock: socket.socket) -> None:
    """Answer requests until shutdown or until the client is gone."""
    owner: EngineOwner | None = None
    while True:
        try:
            request = receive(sock)
        except ConnectionLost:
            return
        op, params = request["op"], request["params"]
        if op == "shutdown":
            send(sock, {"id": request["id"], "result": {}})
            return
        try:
            if op == "start":
                owner = EngineOwner(params["engine_args"])
            result = _started(owner).answer("report" if op == "start" else op, params)
            reply: Json = {"id": request["id"], "result": result}
        except Exception as error:  # noqa: BLE001 - every failure is answered, classified, and in the log
            import traceback

            traceback.print_exc()  # into the engine's log, from which excerpts are stored
            reply = {"id": request["id"], "error": {"class": classify(error, starting=op == "start"), "message": one_line(error)}}
        send(sock, reply)


def _started(owner: EngineOwner | None) -> EngineOwner:
    if owner is None:
        raise RuntimeError("no engine was started")
    return owner


class EngineOwner:
    """One vLLM engine and the measurements on it."""

    def __init__(self, engine_args: Json) -> None:
        start = time.perf_counter()
        self._compiles = CompileCounter()
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        self._engine = LLMEngine.from_engine_args(EngineArgs(**engine_args))
        self._stepped = SteppedLlmEngine(self._engine)
        self._start_s = time.perf_counter() - start

    def report(self) -> Json:
        return {
            "effective": environment.effective_config(self._engine),
            "environment": environment.describe_environment(),
            "start_s": self._start_s,
            "details": {"compilations": self._compiles.count, "compile_s": round(self._compiles.seconds, 3)},
        }

    def answer(self, op: str, params: Json) -> Json:
        if op == "report":
            return self.report()
        if op == "reconfigure":
            self._stepped.core.tuner_reconfigure(**params)
            return {}
        if op == "reset":
            return {"reset": bool(self._engine.reset_prefix_cache())}
        if op == "measure":
            return self._measure(params)
        if op == "profile":
            return self._profile(params)
        raise ValueError(f"unknown operation {op!r}")

    def _measure(self, params: Json) -> Json:
        plan = read_plan(params["plan"])
        self._engine.reset_prefix_cache()
        gc.collect()
        gc.disable()  # a collection inside one arm's window would be charged to that arm
        self._stepped.begin()
        compiled, compile_s, cpu = self._compiles.count, self._compiles.seconds, CpuShare()
        started_at = time.time()
        try:
            stop = saturation if plan.stop_when_saturated else None
            window = drive(self._stepped, plan, params["timeout_s"], stop=stop, stop_every=CHECK_EVERY)
        finally:
            gc.enable()
        return {
            **window_to_json(window, self._stepped.preemptions),
            "steps": [list(asdict(step).values()) for step in self._stepped.steps],
            "started_at": started_at,
            "compilations": self._compiles.count - compiled,
            "details": {
                "compile_s": round(self._compiles.seconds - compile_s, 4),
                **cpu.since(),
                "unaligned_steps": self._stepped.core.tuner_describe()["unaligned_steps"],
            },
        }

    def _profile(self, params: Json) -> Json:
        load = params["load"]
        phase_load = PhaseLoad(load["phase"], _requests(load["standing"]), load["in_flight"], _requests(load["arriving"]))
        self._engine.reset_prefix_cache()
        self._stepped.begin()
        return capture_phase(self._stepped, phase_load, lambda: self._compiles.count, params)


def read_plan(raw: Json) -> LoadPlan:
    return LoadPlan(_requests(raw["requests"]), raw["max_concurrency"], raw["content_hash"], raw["stop_when_saturated"])


def _requests(raw: Sequence[Sequence[Any]]) -> tuple[PlannedRequest, ...]:
    return tuple(PlannedRequest(name, tuple(prompt), max_tokens, arrival_s) for name, prompt, max_tokens, arrival_s in raw)


def window_to_json(window: DrivenWindow, preemptions: dict[str, int]) -> Json:
    requests = [{**asdict(record), "preemptions": preemptions.get(record.request_id, 0)} for record in window.requests]
    tokens = {name: list(ids) for name, ids in window.tokens.items()}
    return {
        "requests": requests,
        "tokens": tokens,
        "duration_s": window.duration_s,
        "output_digest": window.output_digest,
        "stopped": window.stopped,
    }
