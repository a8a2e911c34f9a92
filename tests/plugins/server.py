"""Fixture `start`: `tuner serve` as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from storage.base import Storage
from tests.storage.raw import url_of

TOKEN = "a-token-of-the-tests-0123456789"
START_TIMEOUT_S = 60.0
StartServer = Callable[..., tuple[subprocess.Popen[str], str]]


def serve_command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from tuner.cli.main import main; main()", "serve", *arguments]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """`start(storage)`: (process, base URL) of a server that answers."""
    running: list[subprocess.Popen[str]] = []

    def begin(storage: Storage, *options: str) -> tuple[subprocess.Popen[str], str]:
        command = serve_command("--port", "0", "--json", "--storage", url_of(storage), "--logdir", str(tmp_path), *options)
        with (tmp_path / f"server-{len(running)}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "TUNER_API_TOKEN": TOKEN})
        running.append(process)
        assert process.stdout is not None
        document = ""
        while not document.endswith("}\n"):
            document += (line := process.stdout.readline())
            assert line, (tmp_path / f"server-{len(running) - 1}.log").read_text()
        url = json.loads(document)["url"].rstrip("/")
        wait_for(url)
        return process, url

    yield begin
    for process in running:
        process.kill()
        process.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            assert httpx.get(f"{url}/readyz").status_code == 200
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
