"""The real server as a process: `tuner serve`, killed, stopped, refused."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from storage.base import Storage
from tests.plugins.server import TOKEN, StartServer, serve_command
from tests.service.builders import fill
from tests.storage.builders import a_recommendation
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)  # it starts two servers
def test_a_killed_server_loses_nothing(start: StartServer, each_storage: Storage) -> None:
    """Killed amid publications: each that was acknowledged is stored with its entry in the audit trail, and none is stored by half."""
    filled = fill(each_storage)
    stored = [each_storage.add_recommendation(a_recommendation(filled.study.id)).id for _ in range(50)]  # a client may write 60 a minute
    process, url = start(each_storage)
    acknowledged: list[int] = []

    def publish() -> None:
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}) as client:
            for number in stored:
                try:
                    client.post(f"/v1/recommendations/{number}/publish").raise_for_status()
                except httpx.TransportError:
                    return
                acknowledged.append(number)

    writer = threading.Thread(target=publish)
    writer.start()
    while len(acknowledged) < 10:
        assert writer.is_alive()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    writer.join()
    _, url = start(each_storage)
    published = {number for number in stored if httpx.get(f"{url}/v1/recommendations/{number}").json()["published_at"] is not None}
    audited = {number for number in stored if httpx.get(f"{url}/v1/recommendations/{number}/history").json()["items"]}
    assert 10 <= len(acknowledged) < len(stored)
    assert set(acknowledged) <= published
    assert published == audited
    assert len(published) <= len(acknowledged) + 1  # the one that was in flight


def test_sigterm_finishes_the_request_in_flight(start: StartServer, storage: Storage, tmp_path: Path) -> None:
    """A request whose last byte is still missing when the signal comes is answered; the process ends with 0."""
    filled = fill(storage)
    process, url = start(storage)
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.putrequest("POST", f"/v1/recommendations/{filled.recommended.id}/publish")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{")
    time.sleep(0.5)  # the server has the headers and waits for the body
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    connection.send(b"}")
    assert connection.getresponse().status == 200
    assert process.wait(PATIENCE_S) == 0
    logged = [json.loads(line) for line in (tmp_path / "server-0.log").read_text().splitlines()]
    assert [(line["event"], line["method"], line["status"]) for line in logged] == [("request", "POST", 200)]
    assert storage.get_recommendation(filled.recommended.id).published_at is not None


def test_a_trusted_proxy_says_who_the_client_is(start: StartServer, storage: Storage) -> None:
    """Each of its clients has a rate of its own; behind a proxy that nobody named, all are one."""

    def answered(url: str) -> list[int]:
        asked = [{"x-forwarded-for": f"192.0.2.{place % 2}", "authorization": f"Bearer {TOKEN}"} for place in range(4)]
        return [httpx.get(f"{url}/v1/studies", headers=headers).status_code for headers in asked]

    _, url = start(storage, "--rate-limit", "2/minute", "--trusted-proxy", "127.0.0.1")
    assert answered(url) == [200] * 4
    _, url = start(storage, "--rate-limit", "2/minute")
    assert answered(url) == [200, 200, 429, 429]


def test_a_service_that_is_followed_is_told_what_may_be_asked_for_and_ends_at_once(start: StartServer, storage: Storage) -> None:
    process, url = start(storage, "--allow-engine-args", "max-logprobs,stream_interval", "--max-submissions", "1")
    bearer = {"authorization": f"Bearer {TOKEN}"}
    study = {"study": "a", "model": "tiny-qwen3", "page_sizes": [16], "chunk_budgets": [128], "workload": "demo"}
    wider = study | {"engine_args": {"max_logprobs": 5}}
    assert httpx.post(f"{url}/v1/studies", json=wider, headers=bearer).status_code == 202
    assert httpx.post(f"{url}/v1/studies", json=study | {"study": "b"}, headers=bearer).status_code == 429
    with httpx.stream("GET", f"{url}/v1/submissions/1/events") as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("event: ")) == "event: queued"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0, "the stream was not waited for"


def test_a_mistyped_path_is_not_served(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tunr.db'}"
    command = serve_command("--port", "0", "--storage", url)
    kept = {name: value for name, value in os.environ.items() if name != "TUNER_API_TOKEN"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=kept, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done
    [line] = done.stderr.splitlines()
    assert line.startswith("error: --storage (or TUNER_STORAGE): there is no database at")
    assert line.endswith(f"tuner db upgrade --storage {url}")
    assert not (tmp_path / "tunr.db").exists()


@pytest.mark.parametrize("url", ["sqlite:///tuner.db", None])
def test_the_default_database_is_made_by_the_first_who_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    named = ("--storage", url) if url is not None else ()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(serve_command("--port", "0", "--json", *named), stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "{\n", (tmp_path / "log").read_text()
        assert (tmp_path / "tuner.db").exists()
    finally:
        process.kill()
        process.wait()


def test_what_cannot_be_served_is_said_in_one_line(sqlite_url: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where the logs stay as they are."""
    monkeypatch.setattr("service.web.logs.configure_logs", lambda _level: None)
    monkeypatch.delenv("TUNER_API_TOKEN", raising=False)

    def refused(*arguments: str) -> str:
        said = terminal.run("serve", *arguments)
        assert said.code == 2 and is_one_line_error(said), said
        return said.err

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = refused("--port", port, "--storage", sqlite_url)
    assert busy.startswith(f"error: port {port} on 127.0.0.1 cannot be used: Address already in use; choose another")
    here = ("--port", "0", "--storage", sqlite_url)
    assert "a token is needed" in refused("--host", "0.0.0.0", *here)
    assert "--trusted-proxy 10.0.0.300: " in refused("--trusted-proxy", "10.0.0.300", *here)
    assert "--rate-limit 'many' cannot be read" in refused("--rate-limit", "many", *here)
    assert "--allow-webhook-host 'host:80'" in refused("--allow-webhook-host", "host:80", *here)
    assert "did you mean sqlite:///" in refused("--port", "0", "--storage", "tuner.db")
    monkeypatch.setenv("TUNER_API_TOKEN", TOKEN)
    assert "--host no.such.host.invalid" in refused("--host", "no.such.host.invalid", *here)
    monkeypatch.setenv("TUNER_API_TOKEN", "short")
    assert "shorter than 16" in refused(*here)
