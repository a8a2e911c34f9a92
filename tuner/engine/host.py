"""The engine host: forks one process per engine, each with vLLM and JAX imported already (forking.py says why).

python -m tuner.engine.host FD PARENT_PID PROTOCOL_VERSION
"""

from __future__ import annotations

import os
import socket
from typing import override

from tuner.engine import environment, owner
from tuner.engine.forking import Host, run_host
from tuner.engine.messages import Fork
from tuner.engine.protocol import ProtocolViolation, Request, read_message


class EngineForker(Host):
    @override
    def import_engine(self) -> None:
        environment.use_xla_cache()
        import vllm.engine.arg_utils
        import vllm.plugins
        import vllm.v1.engine.llm_engine

        vllm.plugins.load_general_plugins()

    @override
    def start(self, request: Request) -> int:
        """An engine process; it serves the socket whose descriptor follows the request."""
        if request.op != "fork":
            raise ProtocolViolation(f"unknown operation {request.op!r}")
        _, fds, _, _ = socket.recv_fds(self.listener, 1, 1)
        with socket.socket(fileno=fds[0]) as channel:
            message = read_message(Fork, request.params, "fork")
            return self.fork(message.log_path, lambda: _serve_engine(channel, message.env))


def _serve_engine(channel: socket.socket, env: dict[str, str]) -> int:
    os.environ.update(env)
    owner.serve(channel)
    return 0


if __name__ == "__main__":
    run_host(EngineForker)
