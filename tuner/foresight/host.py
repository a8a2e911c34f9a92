"""The compiler host: imports vLLM once and forks one process for each engine that is to be compiled (tuner.engine.forking).

python -m tuner.foresight.host FD PARENT_PID PROTOCOL_VERSION
"""

from __future__ import annotations

import importlib
import socket
import traceback
from typing import TYPE_CHECKING, Any, override

from tuner.engine.forking import ChannelHost, answer_requests, error_reply, one_line, run_host
from tuner.engine.messages import Nothing
from tuner.engine.owner import classify
from tuner.engine.protocol import ProtocolViolation, Request, read_message
from tuner.engine.wire_fields import to_fields
from tuner.foresight.messages import Begin, Compile, Prepare, Profile

if TYPE_CHECKING:
    from tuner.foresight.abstract_engine import AbstractEngine

_IMPORTED = (
    "vllm.engine.arg_utils",
    "vllm.v1.core.kv_cache_planning",
    "tpu_inference.worker.tpu_worker",
    "tpu_inference.models.jax.qwen3",
    "tuner.foresight.abstract_engine",
)


class CompilerForker(ChannelHost):
    @override
    def import_engine(self) -> None:
        for name in _IMPORTED:
            importlib.import_module(name)

    @override
    def serve_child(self, channel: socket.socket) -> None:
        engine: AbstractEngine | None = None

        def answer(request: Request) -> dict[str, Any]:
            nonlocal engine
            try:
                if request.op == "start":
                    from tuner.foresight.abstract_engine import AbstractEngine

                    engine = AbstractEngine(read_message(Prepare, request.params, "start"))
                return {"result": to_fields(_answer(engine, request))}
            except Exception as error:  # noqa: BLE001 - every failure is answered, classified, and in the log
                traceback.print_exc()
                return error_reply(classify(error, starting=True), one_line(error))

        answer_requests(channel, answer)


def _answer(engine: AbstractEngine | None, request: Request) -> Any:
    if engine is None:
        raise ProtocolViolation("no engine was prepared")
    if request.op == "start":
        return engine.prepared
    if request.op == "begin":
        engine.begin(read_message(Begin, request.params, "begin").programs)
        return Nothing()
    if request.op == "compile":
        return engine.compile(read_message(Compile, request.params, "compile").program)
    if request.op == "profile":
        asked = read_message(Profile, request.params, "profile")
        return engine.compile(asked.program, asked.module_path)
    raise ProtocolViolation(f"unknown operation {request.op!r}")


if __name__ == "__main__":
    run_host(CompilerForker)
