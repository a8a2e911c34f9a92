"""A server that gives the answers it is told to give."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import override

MODELS = {"data": [{"id": "m"}]}


@contextmanager
def answering(
    status: dict[str, int], models: object = MODELS, key: str | None = None, on_stop: Callable[[], None] | None = None
) -> Iterator[str]:
    """A server that gives these answers (200 where nothing is said); `on_stop` is called where a profiler would write its profile."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer()

        def _answer(self) -> None:
            body = json.dumps(models).encode()
            allowed = key is None or self.headers.get("Authorization") == f"Bearer {key}"
            if on_stop is not None and self.path == "/stop_profile":
                on_stop()
            self.send_response(status.get(self.path, 200) if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
