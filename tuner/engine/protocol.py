"""The wire between client and engine host: one JSON object a message, length-prefixed, over a private Unix socket.

Requests: {"id", "op", "params"}. Replies: {"id", "result"} or {"id", "error": {"class", "message"}}. Standard library only: the host may
run in another Python than ours, one that has vLLM and nothing of us but this package.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

Json = dict[str, Any]
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_LENGTH = struct.Struct("!I")


class ConnectionLost(Exception):
    """The other side is gone."""


class ProtocolViolation(Exception):
    """What came is not a message of this protocol."""


def send(sock: socket.socket, message: Json) -> None:
    """Send one message. Raises ConnectionLost."""
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    try:
        sock.sendall(_LENGTH.pack(len(body)) + body)
    except OSError as error:
        raise ConnectionLost(str(error)) from error


def receive(sock: socket.socket) -> Json:
    """Receive one message. Raises ConnectionLost at the end of the stream, TimeoutError after the socket's time-out, ProtocolViolation."""
    (length,) = _LENGTH.unpack(_read_exactly(sock, _LENGTH.size))
    if length > MAX_MESSAGE_BYTES:
        raise ProtocolViolation(f"message of {length} bytes exceeds {MAX_MESSAGE_BYTES}")
    try:
        message = json.loads(_read_exactly(sock, length))
    except ValueError as error:
        raise ProtocolViolation(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ProtocolViolation("message is not an object")
    return message


def _read_exactly(sock: socket.socket, count: int) -> bytes:
    chunks = bytearray()
    while len(chunks) < count:
        try:
            chunk = sock.recv(min(count - len(chunks), 1 << 20))
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        if not chunk:
            raise ConnectionLost("end of stream")
        chunks += chunk
    return bytes(chunks)
