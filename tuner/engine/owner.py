"""The engine process: owns one vLLM engine and answers measure, reconfigure, profile, report and shutdown (messages.py)."""

from __future__ import annotations

import gc
import socket
import time
import traceback
from dataclasses import replace
from typing import Any

from tuner.core.contract import StartReport
from tuner.core.errors import is_in_use, is_no_space
from tuner.engine import environment
from tuner.engine.cpu_contention import CpuContention
from tuner.engine.forking import answer_requests, error_reply, one_line
from tuner.engine.messages import Answer, Answers, Measure, Measured, Nothing, Profile, Profiled, Reconfigure, Start
from tuner.engine.on_slice import CompilesThere, describe_environment, spans_hosts, start_engine
from tuner.engine.protocol import ProtocolViolation, Request, read_message
from tuner.engine.startup import STARTUP, timed_start
from tuner.engine.stepping import CompileCounter, SteppedLlmEngine
from tuner.engine.tracing import capture_phase
from tuner.engine.wire_fields import to_fields
from tuner.workload.client import WindowTimeout, drive
from tuner.workload.saturation import CHECK_EVERY, saturation

Json = dict[str, Any]
OUT_OF_MEMORY_SIGNS = (
    "RESOURCE_EXHAUSTED",
    "out of memory",
    "Out of memory",
    "No available memory for the cache blocks",
    "exceeds total_hbm_limit",
)
# Of libtpu, of the kernel's drivers (EBUSY, EADDRINUSE) where only their words come through.
IN_USE_SIGNS = ("The TPU is already in use", "Device or resource busy", "Address already in use")
# Of libtpu and of Pallas (jax._src.pallas.mosaic).
COMPILE_SIGNS = ("Mosaic failed to compile", "MosaicError:", "VerificationError:", "LoweringException:")


def classify(error: BaseException, *, starting: bool) -> str:
    """The failure class (tuner.core.errors.FailureClass value) of an exception from vLLM, JAX or the driver."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY_SIGNS):
        return "out_of_memory"
    if isinstance(error, WindowTimeout):
        return "timeout"
    if isinstance(error, ProtocolViolation):
        return "internal"
    if is_no_space(error):
        return "no_space"
    if is_in_use(error) or any(sign in text for sign in IN_USE_SIGNS):
        return "in_use"
    if any(sign in text for sign in COMPILE_SIGNS):
        return "compile_error"
    if isinstance(error, ValueError | NotImplementedError):
        return "invalid_config"
    return "startup" if starting else "engine_crash"


def serve(sock: socket.socket) -> None:
    """Answer requests until shutdown or until the client is gone."""
    owner: EngineOwner | None = None

    def answer(request: Request) -> Json:
        nonlocal owner
        try:
            if request.op == "start":
                owner = EngineOwner(read_message(Start, request.params, "start").engine_args)
            return {"result": to_fields(_started(owner).answer(request))}
        except Exception as error:  # noqa: BLE001 - every failure is answered, classified, and in the log
            traceback.print_exc()  # into the engine's log, from which excerpts are stored
            usable = owner is None or owner.made_idle()
            return error_reply(classify(error, starting=request.op == "start") if usable else "engine_crash", one_line(error))

    answer_requests(sock, answer)


def _started(owner: EngineOwner | None) -> EngineOwner:
    if owner is None:
        raise RuntimeError("no engine was started")
    return owner


class EngineOwner:
    """One vLLM engine and the measurements on it."""

    def __init__(self, engine_args: Json) -> None:
        self._compiles: CompileCounter | CompilesThere = CompileCounter()
        with timed_start() as self._startup:
            self._engine = start_engine(engine_args)
            self._stepped = SteppedLlmEngine(self._engine)
        if spans_hosts():
            self._compiles = CompilesThere(self._engine)

    def report(self) -> StartReport:
        return StartReport(
            effective=environment.effective_config(self._engine),
            environment=describe_environment(self._engine),
            start_s=self._startup["startup_s"],
            details={"compilations": self._compiles.count, "compile_s": round(self._compiles.seconds, 3), STARTUP: dict(self._startup)},
        )

    def answer(self, request: Request) -> StartReport | Nothing | Measured | Answers | Profiled:
        """Raises ProtocolViolation for an unknown operation or message."""
        match request.op:
            case "start" | "report":
                return self.report()
            case "reconfigure":
                self._stepped.core.tuner_reconfigure(**to_fields(read_message(Reconfigure, request.params, request.op)))
                return Nothing()
            case "measure":
                return self._measure(read_message(Measure, request.params, request.op))
            case "answer":
                return self._answer(read_message(Answer, request.params, request.op))
            case "profile":
                return self._profile(read_message(Profile, request.params, request.op))
        raise ProtocolViolation(f"unknown operation {request.op!r}")

    def made_idle(self) -> bool:
        """After a failure: whether the engine is free of requests again, and so fit for another configuration."""
        try:
            self._stepped.forget_unfinished()
        except Exception:  # noqa: BLE001 - whatever it is, the engine is lost
            traceback.print_exc()
            return False
        return True

    def _measure(self, message: Measure) -> Measured:
        plan = message.plan
        self._engine.reset_prefix_cache()
        gc.collect()
        gc.disable()  # a collection inside one arm's window would be charged to that arm
        self._stepped.begin()
        compiled, compile_s, contention = self._compiles.count, self._compiles.seconds, CpuContention()
        started_at = time.time()
        try:
            stop = saturation if plan.stop_when_saturated else None
            window = drive(self._stepped, plan, message.timeout_s, stop=stop, stop_every=CHECK_EVERY)
        finally:
            gc.enable()
        preemptions = self._stepped.preemptions
        return Measured(
            requests=tuple(replace(record, preemptions=preemptions.get(record.request_id, 0)) for record in window.requests),
            tokens=window.tokens,
            steps=tuple(self._stepped.steps),
            started_at=started_at,
            duration_s=window.duration_s,
            compilations=self._compiles.count - compiled,
            output_digest=window.output_digest,
            stopped=window.stopped,
            details={
                "compile_s": round(self._compiles.seconds - compile_s, 4),
                **contention.since(),
                "unaligned_steps": self._stepped.core.tuner_describe()["unaligned_steps"],
            },
        )

    def _answer(self, message: Answer) -> Answers:
        """Not a window: log-probabilities cost time."""
        self._engine.reset_prefix_cache()
        self._stepped.begin()
        self._stepped.listen()
        try:
            drive(self._stepped, message.plan, message.timeout_s)
        finally:
            heard = self._stepped.heard()
        return Answers(tuple(heard[request.request_id] for request in message.plan.requests))

    def _profile(self, message: Profile) -> Profiled:
        self._engine.reset_prefix_cache()
        self._stepped.begin()
        return capture_phase(self._stepped, message, lambda: self._compiles.count)
