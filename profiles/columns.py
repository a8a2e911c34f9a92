"""Decode the events of an XLine in bulk: all events of a chunk advance field by field together, as numpy columns.

One event costs about a microsecond and a few tens of bytes. Events that the caller does not keep are freed with their chunk, so they do
not add to the memory needed. Hostile input ends in Malformed: every cursor is checked against the end of its own message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiles import schema
from profiles.wire import BYTES, FIXED32, FIXED64, VARINT, ByteSource, Malformed, encoded, varint

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Bools = NDArray[np.bool_]

CHUNK_BYTES = 4 << 20
_PAD = b"\0" * 32  # so that a word can be read at every position, also past the last byte
_MAX_EVENT_BYTES = 16 << 20
_SLOW_STEP = 4  # so many times the work of a field in a file's outline
_BATCH_EVENTS = 1 << 16  # decoded at once: a chunk may hold millions of tiny events, and each takes some hundred bytes meanwhile
_MOST_EVENTS = 5_000_000  # kept of one line: half a gigabyte of trace, and nearly one of memory
_MAX_EVENT_FIELDS = 512  # real events have about a dozen
_MAX_STAT_FIELDS = 16
_EVENT_TAG = schema.XLINE_EVENTS << 3 | BYTES
_METADATA_ID_TAG = schema.XEVENT_METADATA_ID << 3 | VARINT
_FIXED_LENGTH = np.array([0, 8, -1, -1, -1, 4, -1, -1])  # bytes of payload by wire type; -1: not fixed
_HEAD_BYTES = 32  # tag, length, tag and id of an event
_OFFSET_TAG = schema.XEVENT_OFFSET_PS << 3 | VARINT
_MASK = (1 << 64) - 1
_SEVENS = np.uint64(0x7F7F7F7F7F7F7F7F)
_STOPS = np.uint64(0x8080808080808080)
_ONE = np.uint64(1)

# XStat's value is a oneof: which field is set is part of the value (see StatColumn.kind).
KIND_ABSENT = 0
KIND_DOUBLE, KIND_UINT64, KIND_INT64 = (schema.number("XStat", name) for name in ("double_value", "uint64_value", "int64_value"))
KIND_STRING, KIND_REF = (schema.number("XStat", name) for name in ("str_value", "ref_value"))
_STAT_ID = schema.number("XStat", "metadata_id")
_WIRE_TYPE_OF_KIND = np.array([-1, -1, FIXED64, VARINT, VARINT, BYTES, BYTES, VARINT])  # by field number; -1: not a value


@dataclass(frozen=True)
class StatColumn:
    """One stat over all events, [events]. `value` holds the integer, the double's bits, the id of the name that is referred to (KIND_REF)
    or an index into EventDecoder.strings (KIND_STRING), according to `kind`; KIND_ABSENT where the event lacks the stat."""

    kind: NDArray[np.uint8]
    value: Ints


@dataclass(frozen=True)
class EventColumns:
    """Events of one line, each array [events]. Times are picoseconds since the line's timestamp."""

    metadata_id: Ints
    offset_ps: Ints
    duration_ps: Ints
    stats: dict[int, StatColumn]  # stat metadata id -> column

    def select(self, mask: Bools) -> EventColumns:
        stats = {key: StatColumn(column.kind[mask], column.value[mask]) for key, column in self.stats.items()}
        return EventColumns(self.metadata_id[mask], self.offset_ps[mask], self.duration_ps[mask], stats)


Keep = Callable[[EventColumns], Bools]


class EventDecoder:
    """Decodes lines of one plane; `stat_ids` are the stats wanted. Text values of stats are collected once in `strings`."""

    def __init__(self, source: ByteSource, stat_ids: Sequence[int]) -> None:
        self.strings: list[str] = []
        self._source = source
        self._stat_ids = tuple(stat_ids)
        self._string_index: dict[bytes, int] = {}

    def line(self, start: int, end: int, keep: Keep | None = None) -> EventColumns:
        """The events in bytes [start, end) of the file, in file order, that `keep` accepts. Raises Malformed."""
        parts, count = [], 0
        for data, starts, ends in _chunks(self._source, start, end):
            for first in range(0, len(starts), _BATCH_EVENTS):
                batch = slice(first, first + _BATCH_EVENTS)
                columns = self._decode(data, starts[batch], ends[batch])
                kept = columns if keep is None else columns.select(keep(columns))
                count += len(kept.metadata_id)
                if count > _MOST_EVENTS:
                    raise Malformed(f"more than {_MOST_EVENTS} events of ops in one line: profile fewer steps")
                if len(kept.metadata_id):
                    parts.append(kept)
        return self._concatenate(parts)

    def mentions(self, start: int, end: int, metadata_ids: Iterable[int]) -> bool:
        """False only if no event in bytes [start, end) is of these types: a search for their heads (length, id, then the offset, which
        every event with a time has), much faster than decoding."""
        needles = [bytes([_METADATA_ID_TAG, *encoded(number & _MASK), _OFFSET_TAG]) for number in metadata_ids]
        tag, number = re.escape(bytes([_EVENT_TAG])), b"|".join(re.escape(needle) for needle in needles)
        head = re.compile(tag + rb"[\x80-\xff]{0,9}[\x00-\x7f](?:" + number + rb")", re.DOTALL)
        for position in range(start, end, CHUNK_BYTES):
            data = self._source.read(position, min(CHUNK_BYTES + _HEAD_BYTES, end - position))
            if any(needle in data for needle in needles) and head.search(data):  # the first test is faster and mostly enough
                return True
        return False

    def _concatenate(self, parts: Sequence[EventColumns]) -> EventColumns:
        empty = np.empty(0, np.int64)

        def joined(arrays: Sequence[Ints]) -> Ints:
            return np.concatenate([empty, *arrays])

        stats = {
            key: StatColumn(
                np.concatenate([np.empty(0, np.uint8), *(part.stats[key].kind for part in parts)]),
                joined([part.stats[key].value for part in parts]),
            )
            for key in self._stat_ids
        }
        return EventColumns(
            joined([part.metadata_id for part in parts]),
            joined([part.offset_ps for part in parts]),
            joined([part.duration_ps for part in parts]),
            stats,
        )

    def _decode(self, data: bytes, starts: Ints, ends: Ints) -> EventColumns:
        words = np.ndarray(shape=(len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))
        count = len(starts)
        plain = {
            number: np.zeros(count, np.int64) for number in (schema.XEVENT_METADATA_ID, schema.XEVENT_OFFSET_PS, schema.XEVENT_DURATION_PS)
        }
        stats = {key: StatColumn(np.zeros(count, np.uint8), np.zeros(count, np.int64)) for key in self._stat_ids}
        for step in _walk(words, starts, ends, _MAX_EVENT_FIELDS):
            for number, column in plain.items():
                _scatter(step, (step.number == number) & (step.wire_type == VARINT), column)
            if self._stat_ids:
                nested = (step.number == schema.XEVENT_STATS) & (step.wire_type == BYTES)
                if nested.any():
                    self._decode_stats(data, words, step.pick(nested), stats)
        return EventColumns(plain[schema.XEVENT_METADATA_ID], plain[schema.XEVENT_OFFSET_PS], plain[schema.XEVENT_DURATION_PS], stats)

    def _decode_stats(self, data: bytes, words: Words, outer: _Step, stats: dict[int, StatColumn]) -> None:
        """One stat of each event in `outer`: a small message of an id and a value."""
        count = len(outer.rows)
        stat_id, kind, value = np.zeros(count, np.int64), np.zeros(count, np.uint8), np.zeros(count, np.int64)
        text_end = np.zeros(count, np.int64)
        for step in _walk(words, outer.start, outer.end, _MAX_STAT_FIELDS):
            _scatter(step, (step.number == _STAT_ID) & (step.wire_type == VARINT), stat_id)
            is_value = (step.number < len(_WIRE_TYPE_OF_KIND)) & (
                _WIRE_TYPE_OF_KIND[step.number % len(_WIRE_TYPE_OF_KIND)] == step.wire_type
            )
            kind[step.rows[is_value]] = step.number[is_value].astype(np.uint8)
            value[step.rows[is_value]] = np.where(step.wire_type == BYTES, step.start, step.value)[is_value]
            text_end[step.rows[is_value]] = step.end[is_value]
        for key, column in stats.items():
            mine = np.flatnonzero(stat_id == key)
            for index in mine[kind[mine] == KIND_STRING]:
                value[index] = self._intern(data[value[index] : text_end[index]])
            rows = outer.rows[mine]
            column.kind[rows], column.value[rows] = kind[mine], value[mine]

    def _intern(self, raw: bytes) -> int:
        index = self._string_index.setdefault(raw, len(self.strings))
        if index == len(self.strings):
            self.strings.append(schema.text(raw))
        return index


class _Step(NamedTuple):
    """The next field of every message still open: `rows` says whose. A payload is bytes [start, end) of the chunk."""

    rows: Ints
    number: Ints
    wire_type: Ints
    value: Ints
    start: Ints
    end: Ints

    def pick(self, mask: Bools) -> _Step:
        return _Step(*(column[mask] for column in self))


def _scatter(step: _Step, mask: Bools, column: Ints) -> None:
    column[step.rows[mask]] = step.value[mask]


def _walk(words: Words, starts: Ints, ends: Ints, most: int) -> Iterator[_Step]:
    """Go through the fields of many messages at once, [messages] cursors. Raises Malformed."""
    rows = np.flatnonzero(starts < ends)
    position, limit = starts[rows], ends[rows]
    for _ in range(most):
        if not len(rows):
            return
        tag, size = _tags(words, position)
        position = position + size
        if (position > limit).any():
            raise Malformed("a field reaches beyond its message")
        wire_type, number = (tag & np.uint64(7)).astype(np.int64), (tag >> np.uint64(3)).astype(np.int64)
        value, size = _varints(words, position)
        fixed = (wire_type == FIXED64) | (wire_type == FIXED32)
        if fixed.any():
            value, size = np.where(fixed, words[position], value), np.where(fixed, 0, size)
        start = position + size
        room = (limit - start).astype(np.int64)
        length = _FIXED_LENGTH[wire_type]
        is_bytes = wire_type == BYTES
        fits = value <= np.maximum(room, 0).astype(np.uint64)
        length = np.where(is_bytes & fits, value.astype(np.int64), length)
        end = start + length
        if (length < 0).any() or (end > limit).any() or (number == 0).any():
            raise Malformed("a field of unknown type or reaching beyond its message")
        yield _Step(rows, number, wire_type, value.view(np.int64), start, end)
        position = end
        open_ = position < limit
        if not open_.all():
            rows, position, limit = rows[open_], position[open_], limit[open_]
    if len(rows):
        raise Malformed(f"a message has more than {most} fields")


def _tags(words: Words, position: Ints) -> tuple[Words, Ints | int]:
    """As `_varints`; tags of fields below 16, that is all of them in practice, are one byte."""
    tag = words[position] & np.uint64(0xFF)
    return (tag, 1) if (tag < 0x80).all() else _varints(words, position)


def _varints(words: Words, position: Ints) -> tuple[Words, Ints]:
    """(values, sizes in bytes) of the varints at `position`: find the first byte below 128, drop what follows, squeeze out the top bits."""
    word = words[position]
    stops = ~word & _STOPS
    lowest = stops & (~stops + _ONE)
    below = lowest - _ONE  # all ones where no byte stops: the number has nine or ten bytes
    value = _squeeze(word & below)
    size = ((np.bitwise_count(below).astype(np.int64)) + 1) >> 3
    long = np.flatnonzero(stops == 0)
    if len(long):
        tail = words[position[long] + 8]
        tenth = (tail & np.uint64(0x80)) != 0
        if (tenth & ((tail & np.uint64(0x8000)) != 0)).any():
            raise Malformed("a number is longer than ten bytes")
        top = ((tail & np.uint64(0x7F)) << np.uint64(56)) | np.where(tenth, (tail >> np.uint64(8)) << np.uint64(63), np.uint64(0))
        value[long] |= top
        size[long] = np.where(tenth, 10, 9)
    return value, size


def _squeeze(word: Words) -> Words:
    """Eight groups of seven bits, one a byte, become one number of 56 bits."""
    word = word & _SEVENS
    word = (word & np.uint64(0x007F007F007F007F)) | ((word & np.uint64(0x7F007F007F007F00)) >> _ONE)
    word = (word & np.uint64(0x00003FFF00003FFF)) | ((word & np.uint64(0x3FFF00003FFF0000)) >> np.uint64(2))
    return (word & np.uint64(0x000000000FFFFFFF)) | ((word & np.uint64(0x0FFFFFFF00000000)) >> np.uint64(4))


def _chunks(source: ByteSource, start: int, end: int) -> Iterator[tuple[bytes, Ints, Ints]]:
    """Whole events of bytes [start, end), a few megabytes at a time: (padded bytes, event starts, event ends), positions within the
    chunk.
    """
    size = CHUNK_BYTES
    while start < end:
        length = min(size, end - start)
        data = source.read(start, length)
        starts, ends, used = _event_bounds(data, start + length == end, source.charge)
        if not used:  # one event fills the whole chunk
            size *= 2
            if size > _MAX_EVENT_BYTES:
                raise Malformed(f"an event of more than {_MAX_EVENT_BYTES} bytes")
            continue
        yield data + _PAD, starts, ends
        start += used
        size = CHUNK_BYTES


def _event_bounds(data: bytes, last: bool, charge: Callable[[int], None]) -> tuple[Ints, Ints, int]:
    """Where the events lie in a chunk (starts, ends), and how many bytes hold whole fields.

    A field's place depends on all lengths before it. So every byte that could begin an event is looked at in bulk; what remains in Python
    is stepping over bytes that only looked like one, and the rare field that does not look like an event; `charge` counts both.
    """
    begin, start, end = _candidates(np.frombuffer(data, np.uint8))
    breaks = np.flatnonzero(end[:-1] != begin[1:])  # mostly one event begins where the last one ends
    bounds: list[tuple[Ints, Ints]] = []
    position, size = 0, len(data)
    while position < size:
        charge(_SLOW_STEP)
        index = int(np.searchsorted(begin, position))
        if index < len(begin) and begin[index] == position:
            after = int(np.searchsorted(breaks, index))
            stop = int(breaks[after]) + 1 if after < len(breaks) else len(begin)
            bounds.append((start[index:stop], end[index:stop]))
            position = int(end[stop - 1])
            continue
        if not last and position + 20 > size:  # a tag and a length may be cut off
            break
        field_start, field_end = _any_field(data, position)
        if field_end > size:
            if last:
                raise Malformed("an event reaches beyond its line")
            break
        if data[position] == _EVENT_TAG:
            bounds.append((np.array([field_start], np.int64), np.array([field_end], np.int64)))
        position = field_end
    none = np.empty(0, np.int64)
    return np.concatenate([none, *(pair[0] for pair in bounds)]), np.concatenate([none, *(pair[1] for pair in bounds)]), position


def _candidates(data: NDArray[np.uint8]) -> tuple[Ints, Ints, Ints]:
    """Bytes that could begin an event of less than 16 KiB whose first field is its metadata id, as writers put it.

    (first byte, start of the payload, end of the payload), each [candidates], in order.
    """
    begin = np.flatnonzero(data[:-4] == _EVENT_TAG)
    first, second = data[begin + 1].astype(np.int64), data[begin + 2].astype(np.int64)
    long = first >= 0x80
    start = begin + 2 + long
    end = start + np.where(long, first & 0x7F | second << 7, first)
    plausible = (~long | (second < 0x80)) & (data[start] == _METADATA_ID_TAG) & (end <= len(data))
    begin, start, end = begin[plausible], start[plausible], end[plausible]
    outermost = np.ones(len(begin), np.bool_)  # an event's stats look like events too
    outermost[1:] = begin[1:] >= np.maximum.accumulate(end)[:-1]
    return begin[outermost], start[outermost], end[outermost]


def _any_field(data: bytes, position: int) -> tuple[int, int]:
    """Bounds of the payload of whatever field stands at `position`; it may end beyond the data."""
    tag, start = varint(data, position)
    wire_type = tag & 7
    if wire_type == VARINT:
        return start, varint(data, start)[1]
    if wire_type == BYTES:
        length, start = varint(data, start)
        return start, start + length
    if wire_type in {FIXED64, FIXED32} and tag >> 3:
        return start, start + (8 if wire_type == FIXED64 else 4)
    raise Malformed(f"unknown wire type {wire_type}")
