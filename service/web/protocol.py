"""What uvicorn's HTTP protocol leaves open: a request that is no HTTP gets a problem document too, and one whose head does not end is not
waited for. Works with both of its implementations."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from service.web.errors import problem_response

HEAD_TIMEOUT_S = 10.0


class _Strict:
    """In front of a uvicorn protocol class, whose attributes it uses."""

    head_timeout_s = HEAD_TIMEOUT_S
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any  # the request that is being answered, None before the first
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self._timer = self.loop.call_later(self.head_timeout_s, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)  # type: ignore[misc]
        head_is_complete = self.cycle is not None and not self.cycle.response_complete
        if head_is_complete:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)  # type: ignore[misc]

    def send_400_response(self, _message: str) -> None:
        answer = problem_response(400, "this is not HTTP/1.1 as it should be")
        lines = [b"%b: %b\r\n" % pair for pair in (*answer.raw_headers, (b"connection", b"close"))]
        self.transport.write(b"".join([b"HTTP/1.1 400 Bad Request\r\n", *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def strict_http(
    implementation: type[asyncio.Protocol] = AutoHTTPProtocol, head_timeout_s: float = HEAD_TIMEOUT_S
) -> type[asyncio.Protocol]:
    """For `uvicorn.Config(http=...)`. `head_timeout_s`: from the connection, or a further request's first byte, to the end of a head."""
    return type("StrictHttp", (_Strict, implementation), {"head_timeout_s": head_timeout_s})
