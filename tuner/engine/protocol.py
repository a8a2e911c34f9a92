"""The wire between the tuner and its hosts and engines: one JSON object a message, length-prefixed, over a private Unix socket.

Requests: {"id", "op", "params"}. Replies: {"id", "result"} or {"id", "error": {"class", "message"}}. `params` and `result` are the
messages of messages.py, field by field by name. Standard library only: the host may run in another Python than ours, one that has vLLM
and nothing of us but this package.

That other Python may hold another release of this package. So each side says its PROTOCOL_VERSION before anything else is understood: the
tuner on the host's command line, the host in its first message (id 0). Version 1 (up to 0.1.0) said nothing; its fields went by order.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

from tuner.engine.wire_fields import WrongFields, from_fields

Json = dict[str, Any]
PROTOCOL_VERSION = 4
SILENT_VERSION = 1  # of a peer that does not say its version
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_LENGTH = struct.Struct("!I")


class ConnectionLost(Exception):
    """The other side is gone."""


class ProtocolViolation(Exception):
    """What came is not a message of this protocol."""


@dataclass(frozen=True)
class Request:
    id: int
    op: str
    params: Json


def read_message[Message](kind: type[Message], raw: object, what: str) -> Message:
    """A message out of `params` or `result`; `what` names the operation. Raises ProtocolViolation naming the wrong field."""
    try:
        return from_fields(kind, raw)
    except WrongFields as error:
        raise ProtocolViolation(f"{what}: {error}") from error


def check_version(theirs: object, peer: str) -> None:
    """`theirs`: the version that the peer said, None where it said nothing. Raises ProtocolViolation in one line where it is not ours."""
    version = SILENT_VERSION if theirs is None else theirs
    if version != PROTOCOL_VERSION:
        raise ProtocolViolation(
            f"the {peer} speaks version {version} of the engine protocol and this side version {PROTOCOL_VERSION}; "
            "install the same release of vllm-tpu-tuner in both Pythons"
        )


def receive_request(sock: socket.socket) -> Request:
    """Raises as `receive`, and ProtocolViolation for a message that is no request."""
    return read_message(Request, receive(sock), "request")


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
