"""The engine host: forks one process per engine, each with vLLM and JAX imported already (forking.py says why).

python -m tuner.engine.host FD PARENT_PID PROTOCOL_VERSION
"""

from __future__ import annotations

import socket
from typing import override

from tuner.engine import environment, owner
from tuner.engine.forking import ChannelHost, run_host


class EngineForker(ChannelHost):
    @override
    def import_engine(self) -> None:
        environment.use_xla_cache()
        import vllm.engine.arg_utils
        import vllm.plugins
        import vllm.v1.engine.llm_engine

        vllm.plugins.load_general_plugins()

    @override
    def serve_child(self, channel: socket.socket) -> None:
        owner.serve(channel)


if __name__ == "__main__":
    run_host(EngineForker)
