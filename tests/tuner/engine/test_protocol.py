"""The wire: whatever is sent arrives, and what is not a message is told apart from a lost connection."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.engine.protocol import ConnectionLost, ProtocolViolation, receive, send

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.slow
@examples(60)
@given(st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), min_size=1, max_size=4))
def test_messages_arrive_in_order_and_unchanged(messages: list[dict[str, object]]) -> None:
    left, right = socket.socketpair()
    with left, right:
        for message in messages:
            send(left, message)
        assert [receive(right) for _ in messages] == messages


@pytest.mark.parametrize("body", [b"not json", b"[1, 2]", b"\xff\xfe"])
def test_what_is_not_a_json_object_is_a_violation(body: bytes) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(struct.pack("!I", len(body)) + body)
        with pytest.raises(ProtocolViolation):
            receive(right)


def test_an_oversized_message_is_refused_before_it_is_read() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(struct.pack("!I", 2**31))
        with pytest.raises(ProtocolViolation, match="exceeds"):
            receive(right)


def test_a_closed_peer_is_a_lost_connection_also_in_the_middle_of_a_message() -> None:
    for sent in (b"", struct.pack("!I", 100) + b'{"id": 1'):
        left, right = socket.socketpair()
        with right:
            left.sendall(sent)
            left.close()
            with pytest.raises(ConnectionLost):
                receive(right)


def test_non_finite_numbers_are_refused() -> None:
    left, right = socket.socketpair()
    with left, right, pytest.raises(ValueError, match="JSON compliant"):
        send(left, {"value": float("nan")})
