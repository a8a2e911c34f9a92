"""What reaches no route: requests that are no HTTP, and connections on which none comes. Against both of uvicorn's protocol classes."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.web.protocol import strict_http
from tuner.access.addresses import listen

PATIENCE_S = 60.0
HELLO = b"GET / HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture(params=[H11Protocol, HttpToolsProtocol])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a server that waits half a second for the head of a request."""
    config = uvicorn.Config(PlainTextResponse("hello"), http=strict_http(request.param, 0.5), ws="none", log_config=None, lifespan="off")
    server, taken = uvicorn.Server(config), listen("127.0.0.1", 0)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[taken]),))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield taken.getsockname()[1]
    server.should_exit = True
    thread.join()
    taken.close()


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def _until_closed(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\n",
        b"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_a_problem_document(port: int, request_bytes: bytes) -> None:
    with _connect(port) as connection:
        connection.sendall(request_bytes)
        head, _, body = _until_closed(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == 400


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", HELLO, HELLO + b"\r\n" + HELLO], ids=["nothing", "half a head", "half a second head"])
def test_a_head_that_does_not_end_is_not_waited_for(port: int, sent: bytes) -> None:
    with _connect(port) as connection:
        connection.sendall(sent)
        received = _until_closed(connection)
    assert received.count(b"HTTP/1.1 200 OK") == sent.count(b"\r\n\r\n")


def test_a_head_that_ends_in_time_is_answered(port: int) -> None:
    with _connect(port) as connection:
        for piece in (HELLO[:10], HELLO[10:], b"\r\n"):
            connection.sendall(piece)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_no_websocket_is_opened(port: int) -> None:
    with _connect(port) as connection:
        connection.sendall(
            HELLO + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
