"""More than 150 hostile requests as bytes on real sockets, more than 40 of them at /tensorboard/: no 5xx, nothing read or written outside
the logdir, nobody called, and honest requests are answered afterwards."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import uvicorn

from service.app import create_app
from service.web.protocol import strict_http
from service.web.settings import ServiceSettings
from storage.base import Storage
from tests.service import hostile, hostile_tensorboard
from tests.service.builders import fill
from tests.service.conftest import TOKEN
from tests.service.hostile import Hostile
from tests.service.places import SECRET, Place
from tests.service.watching import watched
from tests.storage.raw import url_of
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

UNFINISHED_S = 3.0
HOST = b"Host: 127.0.0.1\r\n"
PUBLISH = b"POST /v1/recommendations/2/publish HTTP/1.1\r\n" + HOST
CAPTURE = b"/data/plugin/profile/capture_profile?service_addr=%b HTTP/1.1\r\n" + HOST + b"\r\n"
# No client library sends these. Each is refused, or its connection is closed without an answer.
BYTES: dict[str, bytes] = {
    "nothing": b"\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a zero byte": b"GET /v1/studies\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /v1/studies\r\n\r\n",
    "a version of the future": b"GET /v1/studies HTTP/9.9\r\n" + HOST + b"\r\n",
    "no host": b"GET /v1/studies HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v1/studies HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
    "a host in the path": b"GET http://evil.example/v1/studies HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
    "a space before the colon": b"GET /v1/studies HTTP/1.1\r\n" + HOST + b"X-A : b\r\n\r\n",
    "a folded header": b"GET /v1/studies HTTP/1.1\r\nHost: evil\r\n .example\r\n\r\n",
    "lone line feeds": b"GET /v1/nothing HTTP/1.1\nHost: evil.example\n\n",
    "both lengths": b"POST /v1/recommendations/2/publish HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": PUBLISH + b"Content-Length: 1\r\nContent-Length: 9\r\n\r\nab",
    "a broken chunk": PUBLISH + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an endless chunk size": b"POST /v1/recommendations/2/publish HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"f" * 40
    + b"\r\n",
    "another encoding": PUBLISH + b"Transfer-Encoding: gzip\r\n\r\n",
    "dots above the root": b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
    "dots above TensorBoard": b"GET /tensorboard/../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
    "a capture above its folder": b"GET /tensorboard/x/.." + CAPTURE,
    "a capture by an absolute path": b"GET http://127.0.0.1/tensorboard" + CAPTURE,
    "an upgrade": b"GET /v1/nothing HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
    "a header without an end": b"GET /v1/studies HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 100_000,
    "raw bytes in the path": b"GET /v1/studies/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /v1/studies/x#y?z HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.fixture
def address(storage: Storage, place: Place) -> Iterator[tuple[str, int]]:
    fill(storage)
    limits: dict[str, Any] = {"rate_limit": "", "write_rate_limit": "", "failed_auth_rate_limit": ""}
    app = create_app(ServiceSettings(storage_url=url_of(storage), logdir=place.logdir, token=TOKEN, **limits))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, http=strict_http(), ws="none", log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield listening.getsockname()
        server.should_exit = True
        thread.join()


def as_bytes(item: Hostile) -> bytes:
    body = item.options.get("content", b"") or urlencode(item.options.get("data", {})).encode()
    given = {"host": "127.0.0.1", "connection": "close"} | item.options.get("headers", {})
    if body:
        given = {"content-length": str(len(body)), "content-type": "application/x-www-form-urlencoded"} | given
    lines = [f"{item.method} {item.target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def answered(address: tuple[str, int], request: bytes) -> bytes:
    """The head of the answer; b"" where the connection is closed without one. Where the server waits for more, we end our side."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        answer = b""
        try:
            connection.sendall(request)
            if not select.select([connection], [], [], UNFINISHED_S)[0]:
                connection.shutdown(socket.SHUT_WR)
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    return answer


def test_no_request_breaks_anything(address: tuple[str, int], place: Place, listener: socket.socket) -> None:
    called = "{}:{}".format(*listener.getsockname())
    at_tensorboard = hostile_tensorboard.requests_at(str(place.outside), called)
    requests = {f"{item.method} {item.name}": as_bytes(item) for item in [*hostile.ALL, *at_tensorboard]}
    requests |= {name: text.replace(b"%b", called.encode()) for name, text in BYTES.items()}
    assert len(at_tensorboard) >= 40 and len(requests) >= 150
    with watched(place.outside) as touched:
        for name, request in requests.items():
            answer = answered(address, request)
            status = int(answer[9:12]) if answer.startswith(b"HTTP/1.") else 0
            sent_on = status == 307 and b"location: http://127.0.0.1/" in answer  # to the same address without its last slash
            assert 400 <= status < 500 or sent_on or (not answer and name in BYTES), (name, answer[:300])
            assert SECRET.encode() not in answer and b"x-evil" not in answer.lower().partition(b"\r\n\r\n")[0], name
    assert touched == []
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert sorted(path.name for path in _session_files(place)) == ["h.xplane.pb", "h.xplane.pb"]
    for target in ("/v1/studies", "/studies", "/readyz"):
        assert httpx.get("http://{}:{}{}".format(*address, target), trust_env=False).status_code == 200


def _session_files(place: Place) -> list[Path]:
    return [path for path in place.logdir.rglob("*") if path.is_file() or (path.is_symlink() and not path.is_dir())]
