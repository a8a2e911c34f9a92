"""The compiler host: imports vLLM once and forks one process for each engine that is to be compiled (tuner.engine.forking).

python -m tuner.foresight.host FD PARENT_PID PROTOCOL_VERSION
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import traceback
from typing import TYPE_CHECKING, Any, override

from tuner.engine.forking import Host, error_reply, one_line, run_host
from tuner.engine.messages import Fork, Nothing
from tuner.engine.owner import classify
from tuner.engine.protocol import ConnectionLost, ProtocolViolation, Request, read_message, receive_request, send
from tuner.engine.wire_fields import to_fields
from tuner.foresight.messages import Compile, Prepare

if TYPE_CHECKING:
    from tuner.foresight.abstract_engine import AbstractEngine

_IMPORTED = (
    "vllm.engine.arg_utils",
    "vllm.v1.core.kv_cache_planning",
    "tpu_inference.worker.tpu_worker",
    "tpu_inference.models.jax.qwen3",
    "tuner.foresight.abstract_engine",
)


class CompilerForker(Host):
    @override
    def import_engine(self) -> None:
        for name in _IMPORTED:
            importlib.import_module(name)

    @override
    def start(self, request: Request) -> int:
        """A compiler process; it serves the socket whose descriptor follows the request."""
        if request.op != "fork":
            raise ProtocolViolation(f"unknown operation {request.op!r}")
        _, fds, _, _ = socket.recv_fds(self.listener, 1, 1)
        with socket.socket(fileno=fds[0]) as channel:
            message = read_message(Fork, request.params, "fork")
            return self.fork(message.log_path, lambda: _serve(channel, message.env))


def _serve(sock: socket.socket, env: dict[str, str]) -> int:
    """Answer requests until shutdown or until the client is gone."""
    os.environ.update(env)
    engine: AbstractEngine | None = None
    with contextlib.suppress(ConnectionLost):
        while True:
            request = receive_request(sock)
            if request.op == "shutdown":
                send(sock, {"id": request.id, "result": to_fields(Nothing())})
                return 0
            try:
                if request.op == "start":
                    from tuner.foresight.abstract_engine import AbstractEngine

                    engine = AbstractEngine(read_message(Prepare, request.params, "start"))
                reply = {"result": to_fields(_answer(engine, request))}
            except Exception as error:  # noqa: BLE001 - every failure is answered, classified, and in the log
                traceback.print_exc()
                reply = error_reply(classify(error, starting=True), one_line(error))
            send(sock, {"id": request.id, **reply})
    return 0


def _answer(engine: AbstractEngine | None, request: Request) -> Any:
    if engine is None:
        raise ProtocolViolation("no engine was prepared")
    if request.op == "start":
        return engine.prepared
    if request.op == "compile":
        return engine.compile(read_message(Compile, request.params, "compile").program)
    raise ProtocolViolation(f"unknown operation {request.op!r}")


if __name__ == "__main__":
    run_host(CompilerForker)
