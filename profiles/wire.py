"""Walk the protobuf wire format of a file without parsing it: only the bytes that are asked for are read.

Nothing here trusts the file: every length is checked against its enclosing message before anything is read or allocated.
Wire types: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from profiles.errors import ProfileError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WINDOW_BYTES = 1 << 16
_HEADER_BYTES = 20  # a tag and a length, or a tag and a value: two varints of at most ten bytes
_HEAD_BYTES = 1 << 16
_MOST_SINGLE_STEPS = 500_000  # fields that Python looks at one by one: real profiles have some ten thousand
_REPLACEMENT = "�".encode()  # EF BF BD: what a text converter writes for a byte that it did not understand


_GZIP = b"\x1f\x8b"  # how a gzip file begins
_PART_BYTES = 1 << 20
MOST_UNPACKED_BYTES = 2 << 30  # protobuf's own limit of a message


class Malformed(ValueError):
    """The bytes are not what the schema says; becomes a ProfileError that names the file."""


class Field(NamedTuple):
    """One field on the wire: its payload is bytes [start, end) of the file; `value` is set for varints only."""

    number: int
    wire_type: int
    start: int
    end: int
    value: int


class ByteSource:
    """Random access to a file by offset, with no mapping: a file that shrinks while it is read is an error, not a crash."""

    def __init__(self, path: Path) -> None:
        """A file packed with gzip is unpacked. Raises ProfileError where it cannot be opened, is empty or was converted to UTF-8 text."""
        self.path = path
        self._steps_left = _MOST_SINGLE_STEPS
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            if os.pread(self._descriptor, len(_GZIP), 0) == _GZIP:
                self._unpack()
            self.size = os.fstat(self._descriptor).st_size
            head = os.pread(self._descriptor, _HEAD_BYTES, 0)
        except ProfileError:
            self.close()
            raise
        except (EOFError, gzip.BadGzipFile, zlib.error):
            self.close()
            raise ProfileError(f"{path}: the compressed file is damaged or cut off; copy it again, in binary mode") from None
        except OSError as error:
            self.close()
            raise ProfileError(f"{path}: cannot be read ({error.strerror}); give the path of an .xplane.pb file") from None
        if not head:
            self.close()
            raise ProfileError(f"{path}: the file is empty; the profile was not finished, profile again")
        if _looks_converted(head):
            self.close()
            raise ProfileError(
                f"{path}: the file looks converted to UTF-8 text (bytes became U+FFFD), its numbers are lost; copy it in binary mode"
            )

    def _unpack(self) -> None:
        """Go on with the content of a gzip file, in a file without a name. Raises ProfileError where it is larger than any profile."""
        with gzip.open(self.path) as packed, tempfile.TemporaryFile() as unpacked:
            while part := packed.read(_PART_BYTES):
                unpacked.write(part)
                if unpacked.tell() > MOST_UNPACKED_BYTES:
                    raise ProfileError(f"{self.path}: unpacks to more than {MOST_UNPACKED_BYTES >> 20} MiB; that is no profile of ours")
            unpacked.flush()
            os.close(self._descriptor)
            self._descriptor = os.dup(unpacked.fileno())

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; raises Malformed where the file ends before."""
        if length < 0 or offset < 0 or offset + length > self.size:
            raise Malformed(f"{length} bytes wanted at byte {offset} of {self.size}")
        data = os.pread(self._descriptor, length, offset)
        if len(data) != length:
            raise Malformed(f"the file ends at byte {offset + len(data)}")
        return data

    def charge(self, steps: int = 1) -> None:
        """Count a field that is looked at on its own; raises Malformed where a file would keep us busy with such fields for minutes."""
        self._steps_left -= steps
        if self._steps_left < 0:
            raise Malformed(f"more than {_MOST_SINGLE_STEPS} fields that are no events")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _looks_converted(head: bytes) -> bool:
    """True for text: binary varints are not UTF-8, so a head that is, and that holds replacement characters, went through a converter."""
    if head.count(_REPLACEMENT) < 4:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # the cut may fall inside a character
    return True


def varint(data: bytes, position: int) -> tuple[int, int]:
    """(value as unsigned 64 bits, position after it). Raises Malformed where it is cut off or too long."""
    value = shift = 0
    for index in range(position, min(position + 10, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, index + 1
        shift += 7
    raise Malformed("a number is cut off or longer than ten bytes")


def encoded(value: int) -> bytes:
    """The varint of a non-negative number."""
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def signed(value: int) -> int:
    """An int64 as protobuf writes it: two's complement of 64 bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(source: ByteSource, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in bytes [start, end) of the file, in order; payloads are not read. Raises Malformed."""
    window, window_start = b"", start
    position = start
    while position < end:
        source.charge()
        at = position - window_start
        if at + _HEADER_BYTES > len(window) and window_start + len(window) < end:
            window = source.read(position, min(_WINDOW_BYTES, end - position))
            window_start, at = position, 0
        tag, at = varint(window, at)
        wire_type, number, value = tag & 7, tag >> 3, 0
        if wire_type in {VARINT, BYTES}:
            value, at = varint(window, at)
        payload = window_start + at
        length = {VARINT: 0, BYTES: value, FIXED64: 8, FIXED32: 4}.get(wire_type, -1)
        if length < 0 or number == 0:
            raise Malformed(f"unknown wire type {wire_type} at byte {position}")
        position = payload + length
        if position > end:
            raise Malformed(f"a field of {length} bytes at byte {payload} reaches beyond its message")
        yield Field(number, wire_type, payload, position, value if wire_type == VARINT else 0)
