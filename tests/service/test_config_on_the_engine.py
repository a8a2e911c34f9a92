"""The last step of a deployer: `vllm serve` started by a shell with exactly what the API answered over HTTP, nothing added but the port."""

from __future__ import annotations

import http.client
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from storage.base import Storage
from tests.plugins.server import StartServer
from tests.service.served_config import fetch_forms
from tuner.launchers.vllm_server import free_port

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (extra: tpu)"),
]
START_TIMEOUT_S = 420.0


def test_the_engine_runs_with_exactly_what_was_answered(start: StartServer, storage: Storage, tmp_path: Path) -> None:
    answered = fetch_forms(start, storage, tmp_path)
    port = free_port()
    log = answered / "vllm.log"
    script = f"set -a; . ./serve.env; set +a; exec {Path(sys.executable).parent}/vllm serve --config serve.yaml --port {port}"
    with log.open("w") as output:
        process = subprocess.Popen(["sh", "-c", script], cwd=answered, stdout=output, stderr=output, start_new_session=True)
    try:
        model = _served(process, port, log)
        asked = {"model": model, "prompt": [5, 6, 7], "max_tokens": 4, "temperature": 0, "return_token_ids": True}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=asked, timeout=120)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] == 4
        assert "PageAlignedScheduler" in log.read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _served(process: subprocess.Popen[bytes], port: int, log: Path) -> str:
    """The name of the model, once the server is ready."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
        try:
            found = httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5)
            if found.status_code == http.client.OK:
                return str(found.json()["data"][0]["id"])
        except httpx.TransportError:
            time.sleep(0.5)
