"""The watched browser sees what it is there to see: errors, requests, and a page that is too wide."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import override

import pytest

from tests.plugins.browser import PHONE, OpenPage

pytestmark = pytest.mark.browser

PAGE = b"""<!doctype html><title>t</title><body><p style="width:900px">wide</p><script>
window.ran = matchMedia("(prefers-color-scheme: dark)").matches;
fetch("http://127.0.0.1:9/elsewhere").catch(() => {}); console.error("said")
throw new Error("thrown")</script>"""


class _OnePage(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE)

    @override
    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _OnePage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_errors_and_requests_to_elsewhere_are_seen(open_page: OpenPage, address: str) -> None:
    watched = open_page(f"http://{address}/", size=PHONE, scheme="dark", wait_until="networkidle")
    assert watched.page.evaluate("window.ran") is True
    assert any("said" in error for error in watched.errors) and any("thrown" in error for error in watched.errors)
    assert watched.hosts() == {address, "127.0.0.1:9"}
    assert watched.scrolls_sideways()


def test_a_reader_without_scripts_runs_none(open_page: OpenPage, address: str) -> None:
    watched = open_page(f"http://{address}/", javascript=False)
    assert watched.errors == []
    assert watched.hosts() == {address}
