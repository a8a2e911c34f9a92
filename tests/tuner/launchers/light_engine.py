"""An engine host without vLLM, for tests of what happens to processes: the real host, wire and fork; the engine answers, and measures for
ever.

python -m tests.tuner.launchers.light_engine FD PARENT_PID PROTOCOL_VERSION
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any, override

from tuner.core.contract import StartReport
from tuner.engine.forking import ChannelHost, answer_requests, run_host
from tuner.engine.messages import Nothing
from tuner.engine.protocol import Request
from tuner.engine.startup import STARTUP
from tuner.engine.wire_fields import to_fields

EFFECTIVE = {"block_size": 16, "max_num_batched_tokens": 256, "max_num_seqs": 8, "kv_write": "scatter,loop"}
REPORT = StartReport(EFFECTIVE, {}, 0.0, {STARTUP: {"startup_s": 0.0}})


def light_python(folder: Path) -> str:
    """A program to give as the engine's Python: it starts this host, whatever module it is told to run."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -m {__name__} "$@"\n')
    program.chmod(0o755)
    return str(program)


class LightForker(ChannelHost):
    @override
    def import_engine(self) -> None:
        """Nothing."""

    @override
    def serve_child(self, channel: socket.socket) -> None:
        answer_requests(channel, _answer)


def _answer(request: Request) -> dict[str, Any]:
    sys.stdout.write(f"light engine: {request.op}\n")
    sys.stdout.flush()
    if request.op == "measure":
        time.sleep(600)
    return {"result": to_fields(REPORT if request.op in ("start", "report") else Nothing())}


if __name__ == "__main__":
    run_host(LightForker)
