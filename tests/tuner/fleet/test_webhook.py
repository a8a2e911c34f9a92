"""Webhooks against a real server of this machine, and the addresses that none may reach."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tuner.core.errors import BadInput
from tuner.fleet.webhook import MOMENT, SIGNATURE, AllowedHosts, deliver

HERE = AllowedHosts.parse(["127.0.0.1"])
EVENT = {"event": "finished", "study": "first"}
SECRET = "a-secret-of-the-tests"


@dataclass
class Receiver:
    """`answers`: statuses in turn, the last one again and again."""

    url: str
    answers: list[int]
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append((dict(self.headers.items()), body))
            self.send_response(found.answers.pop(0) if len(found.answers) > 1 else found.answers[0])
            self.send_header("Location", "http://169.254.169.254/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook?team=a", [200])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_arrives_is_signed_with_its_time(receiver: Receiver) -> None:
    done = deliver(receiver.url, EVENT, hosts=HERE, secret=SECRET)
    assert (done.delivered, done.attempts, done.status) == (True, 1, 200)
    [(headers, body)] = receiver.got
    assert json.loads(body) == EVENT
    expected = hmac.new(SECRET.encode(), headers[MOMENT].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={expected}"


@pytest.mark.parametrize(
    ("answers", "delivered", "attempts"),
    [([503, 429, 200], True, 3), ([500], False, 4), ([404], False, 1), ([302], False, 1)],
    ids=["away for a while", "away", "unknown there", "a redirect is not followed"],
)
def test_what_may_get_better_is_tried_again(receiver: Receiver, answers: list[int], delivered: bool, attempts: int) -> None:
    receiver.answers = answers
    waited: list[float] = []
    done = deliver(receiver.url, EVENT, hosts=HERE, secret=None, sleep=waited.append)
    assert (done.delivered, done.attempts, len(receiver.got)) == (delivered, attempts, attempts)
    assert waited == [1.0, 5.0, 25.0][: attempts - 1]
    assert SIGNATURE not in receiver.got[0][0]


def test_a_receiver_that_is_away_is_no_error(receiver: Receiver) -> None:
    gone = receiver.url.rpartition(":")[0] + ":1/hook"
    done = deliver(gone, EVENT, hosts=HERE, secret=SECRET, sleep=lambda _seconds: None)
    assert (done.delivered, done.attempts, done.status) == (False, 4, None) and "refused" in done.reason.lower()


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1/", ["hooks.example.com"]),
        ("http://localhost:{port}/", ["localhost"]),
        ("http://localhost:{port}/", ["*"]),
        ("http://[::1]:{port}/", ["*", "127.0.0.0/8"]),
        ("http://[::ffff:127.0.0.1]:{port}/", ["*"]),
        ("http://2130706433:{port}/", ["*"]),
        ("http://0x7f.1:{port}/", ["*"]),
        ("http://169.254.169.254/latest/meta-data/", ["*"]),
        ("http://10.0.0.1/", ["*"]),
        ("http://hooks.example.com@127.0.0.1:{port}/", ["hooks.example.com", "*"]),
        ("http://evil.example.com.evil.test/", ["*.example.com"]),
        ("ftp://127.0.0.1/", ["127.0.0.1"]),
        ("file:///etc/passwd", ["*"]),
        ("gopher://127.0.0.1:{port}/", ["127.0.0.1"]),
        ("http://127.0.0.1:{port}/a\r\nX-Evil: 1", ["127.0.0.1"]),
        ("http://127.0.0.1:{port}/ x", ["127.0.0.1"]),
        ("http://127.0.0.1:99999/", ["127.0.0.1"]),
        ("//127.0.0.1/", ["127.0.0.1"]),
        ("", ["*"]),
        ("http://127.0.0.1/" + "a" * 600, ["127.0.0.1"]),
    ],
)
def test_nobody_is_reached_whom_the_operator_did_not_name(receiver: Receiver, url: str, allowed: list[str]) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    done = deliver(url.replace("{port}", port), EVENT, hosts=AllowedHosts.parse(allowed), secret=SECRET, sleep=lambda _seconds: None)
    assert not done.delivered and receiver.got == []
    assert done.attempts == 1, "it is not tried again"


@pytest.mark.parametrize("text", ["", "https://hooks.example.com", "10.0.0.0/99", "a b/c", "host:80"])
def test_an_allowed_host_that_is_none_is_told(text: str) -> None:
    with pytest.raises(BadInput, match="write for instance"):
        AllowedHosts.parse([text])
