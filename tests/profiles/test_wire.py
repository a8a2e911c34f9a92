"""Walking the wire format of a file: what it finds, and that it never believes a length."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import ProfileError
from profiles.wire import BYTES, FIXED32, FIXED64, VARINT, ByteSource, Malformed, encoded, fields, signed, varint
from tests.quick import examples


def source(tmp_path: Path, data: bytes) -> ByteSource:
    path = tmp_path / "x.pb"
    path.write_bytes(data)
    return ByteSource(path)


@given(st.integers(0, 2**64 - 1))
def test_varints_come_back_as_they_were(value: int) -> None:
    raw = encoded(value)
    assert varint(raw + b"\xff", 0) == (value, len(raw))


@given(st.integers(-(2**63), 2**63 - 1))
def test_negative_numbers_are_twos_complement(value: int) -> None:
    assert signed(value % 2**64) == value


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff" * 10, b"\xff" * 20])
def test_a_cut_or_endless_varint_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed, match="cut off"):
        varint(raw, 0)


def test_fields_of_all_types_in_order(tmp_path: Path) -> None:
    data = b"\x08\x96\x01" + b"\x11" + b"8bytes!!" + b"\x1a\x03abc" + b"\x25" + b"four"
    with source(tmp_path, data) as opened:
        found = list(fields(opened, 0, len(data)))
        assert [(item.number, item.wire_type) for item in found] == [(1, VARINT), (2, FIXED64), (3, BYTES), (4, FIXED32)]
        assert found[0].value == 150
        assert opened.read(found[2].start, 3) == b"abc"


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05abc",  # longer than its message
        b"\x0a" + b"\xff" * 9 + b"\x01",  # longer than anything
        b"\x0b",  # a group: not in this format
        b"\x00\x00",  # field number 0
        b"\x09abc",  # eight bytes wanted
    ],
)
def test_a_field_that_does_not_fit_is_malformed(tmp_path: Path, data: bytes) -> None:
    with source(tmp_path, data) as opened, pytest.raises(Malformed):
        list(fields(opened, 0, len(data)))


@examples(50)
@given(st.lists(st.binary(max_size=300), max_size=400))
def test_many_fields_across_the_read_window(tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]) -> None:
    data = b"\x08\x01" + b"".join(b"\x12" + encoded(len(payload)) + payload for payload in payloads)
    with source(tmp_path_factory.mktemp("w"), data) as opened:
        found = [opened.read(item.start, item.end - item.start) for item in fields(opened, 0, len(data)) if item.number == 2]
    assert found == payloads


def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="No such file"):
        ByteSource(tmp_path / "missing.xplane.pb")
    with pytest.raises(ProfileError, match="empty"):
        source(tmp_path, b"")
    with pytest.raises(ProfileError, match="cannot be read"):
        ByteSource(tmp_path)


def test_text_with_replacement_characters_is_recognised_but_text_alone_is_not(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="converted to UTF-8"):
        source(tmp_path, "\n\ufffd\ufffd plane \ufffd\ufffd".encode() * 20_000)
    source(tmp_path, b"\n\x05plain ascii").close()
    source(tmp_path, "\ufffd".encode() * 10 + b"\xff\xfe" * 9).close()


def test_a_packed_file_reads_as_its_content(tmp_path: Path) -> None:
    data = b"\x08\x96\x01" + b"\x1a\x03abc"
    with source(tmp_path, gzip.compress(data)) as packed:
        assert packed.size == len(data) and packed.read(0, packed.size) == data


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: packed[:12] + b"\0" * 9, lambda packed: packed[:2]])
def test_a_packed_file_that_is_cut_off_or_damaged_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ProfileError, match="the compressed file is damaged or cut off"):
        source(tmp_path, damage(gzip.compress(bytes(range(256)) * 9)))


def test_a_packed_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profiles.wire.MOST_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(ProfileError, match="unpacks to more than 1 MiB"):
        source(tmp_path, gzip.compress(b"\0" * (3 << 20)))


def test_a_packed_file_of_nothing_is_empty(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="the file is empty"):
        source(tmp_path, gzip.compress(b""))
