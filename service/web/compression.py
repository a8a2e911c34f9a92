"""Answers compressed for clients that take it, and ETags that stay true then."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.status import HTTP_304_NOT_MODIFIED
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LEAST_BYTES = 4096
_LEVEL = 5
GZIP = "gzip"
AS_IT_IS = "identity"


class Compression:
    """Every layer within finds `Accept-Encoding` as one plain word, gzip or identity, and so need not weigh it. A compressed answer's bytes
    are not those that its ETag was made of: it gets the weak form."""

    def __init__(self, app: ASGIApp) -> None:
        self._gzip = GZipMiddleware(app, minimum_size=_LEAST_BYTES, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._gzip(scope, receive, send)
            return
        given = Headers(scope=scope)
        word = GZIP if takes_gzip(",".join(given.getlist("accept-encoding"))) else AS_IT_IS
        known = given.get("if-none-match", "")
        others = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        scope["headers"] = [*others, (b"accept-encoding", word.encode())]  # in place: outer layers read the scope again, for its route

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                _weaken(MutableHeaders(raw=message["headers"]), int(message["status"]), known)
            await send(message)

        await self._gzip(scope, receive, answer)


def _weaken(headers: MutableHeaders, status: int, known: str) -> None:
    """A 304 names the ETag as the answer had it that the client keeps."""
    etag = headers.get("etag", "")
    if etag.startswith('"') and ("content-encoding" in headers or (status == HTTP_304_NOT_MODIFIED and f"W/{etag}" in known)):
        headers["etag"] = f"W/{etag}"


def takes_gzip(header: str) -> bool:
    """RFC 9110, 12.5.3: names in any case, a weight of 0 refuses, what is named goes before "*"; no header, no compression."""
    weights: dict[str, float] = {}
    for item in header.split(","):
        name, _, rest = item.partition(";")
        weights[name.strip().lower()] = _weight(rest)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weight(parameters: str) -> float:
    """1 where none is given; one that cannot be read refuses."""
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value.strip())
    except ValueError:
        return 0.0
