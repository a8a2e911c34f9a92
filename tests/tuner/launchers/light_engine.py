"""An engine host without vLLM, for tests of what happens to processes: the real host, wire and fork; the engine answers, and measures for
ever, or, where LIGHT_WINDOW_S is set, for so many seconds with the result that the fake engine of the tests has; where LIGHT_WINDOWS is
set, that many windows are measured so, and the next one for ever.

python -m tests.tuner.launchers.light_engine FD PARENT_PID PROTOCOL_VERSION
"""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, override

from tests.tuner.fake_engine import FOUND, value_of
from tuner.core.contract import LoadPlan, RequestRecord, StartReport
from tuner.engine.environment import fingerprint
from tuner.engine.forking import ChannelHost, answer_requests, run_host
from tuner.engine.messages import Measure, Measured, Nothing, Reconfigure
from tuner.engine.protocol import Request, read_message
from tuner.engine.startup import STARTUP
from tuner.engine.wire_fields import to_fields
from tuner.setup.space import Configuration

EFFECTIVE = {"block_size": 16, "max_num_batched_tokens": 256, "max_num_seqs": 8, "kv_write": "scatter,loop"}
ENVIRONMENT = {"fingerprint": fingerprint(FOUND), **FOUND}
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
        answer_requests(channel, LightEngine().answer)


class LightEngine:
    def __init__(self) -> None:
        self._report = REPORT
        self._live = Reconfigure(False, False, 0, 0, None)
        self._windows = float(os.environ.get("LIGHT_WINDOWS", "inf"))  # that end

    def answer(self, request: Request) -> dict[str, Any]:
        sys.stdout.write(f"light engine: {request.op}\n")
        sys.stdout.flush()
        if request.op == "start" and (asked := request.params["engine_args"]):
            given = {name: asked[name] for name in EFFECTIVE if name in asked}
            self._report = replace(REPORT, effective={**EFFECTIVE, **given}, environment=ENVIRONMENT)
        if request.op == "reconfigure":
            self._live = read_message(Reconfigure, request.params, request.op)
        if request.op == "measure":
            return {"result": to_fields(self._window(read_message(Measure, request.params, request.op).plan))}
        return {"result": to_fields(self._report if request.op in ("start", "report") else Nothing())}

    def _window(self, plan: LoadPlan) -> Measured:
        self._windows -= 1
        time.sleep(float(os.environ.get("LIGHT_WINDOW_S", "600")) if self._windows >= 0 else 600)
        arm = "page_aligned" if self._live.page_aligned else "default"
        configuration = Configuration(self._report.effective["block_size"], self._live.max_num_scheduled_tokens, arm)
        duration_s = sum(len(item.prompt_token_ids) + item.max_tokens for item in plan.requests) / value_of(configuration)
        times = {item.request_id: tuple((n + 1) / item.max_tokens * duration_s for n in range(item.max_tokens)) for item in plan.requests}
        requests = tuple(
            RequestRecord(item.request_id, len(item.prompt_token_ids), 0.0, 0.0, times[item.request_id], duration_s)
            for item in plan.requests
        )
        return Measured(requests, {}, (), time.time(), duration_s, 0, "", None, {})


if __name__ == "__main__":
    run_host(LightForker)
