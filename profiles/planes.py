"""The table of contents of an XSpace: planes, their lines and metadata. Events stay on disk until a line is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from google.protobuf.message import DecodeError

from profiles import schema
from profiles.columns import EventColumns, EventDecoder, Keep
from profiles.wire import BYTES, VARINT, ByteSource, Field, Malformed, fields, signed

StatValue = int | float | str | bytes
_MOST_PLANES = 10_000  # real files have some ten, or a hundred


@dataclass(frozen=True)
class LineInfo:
    """One timeline: its name, its start on the file's clock, and the bytes where its events lie."""

    name: str
    timestamp_ns: int
    start: int
    end: int


@dataclass(frozen=True)
class EventType:
    """XEventMetadata: what all events with one metadata id share."""

    name: str
    display_name: str
    stats: dict[str, StatValue]


@dataclass
class Plane:
    """One plane. Metadata is parsed when first asked for; `line_events` decodes one line."""

    source: ByteSource
    name: str = ""
    lines: list[LineInfo] = field(default_factory=list)
    event_metadata: list[Field] = field(default_factory=list)  # where each entry lies
    stat_metadata: list[Field] = field(default_factory=list)
    own_stats: list[Field] = field(default_factory=list)

    @cached_property
    def stat_names(self) -> dict[int, str]:
        """Stat metadata id -> name; also what reference values point into."""
        entries = (parse(schema.StatMetadataEntry, self.source, item) for item in self.stat_metadata)
        return {entry.key: schema.text(entry.value.name) for entry in entries}

    @cached_property
    def stats(self) -> dict[str, StatValue]:
        """The plane's own stats, such as the device type."""
        return self._values(parse(schema.XStat, self.source, item) for item in self.own_stats)

    def event_types(self, wanted: frozenset[str] = frozenset()) -> Iterator[tuple[int, EventType]]:
        """(metadata id, type) of every event type; stats are limited to the names in `wanted`."""
        for item in self.event_metadata:
            entry = parse(schema.EventMetadataEntry, self.source, item)
            value = entry.value
            stats = self._values((stat for stat in value.stats if self.stat_names.get(stat.metadata_id) in wanted) if wanted else ())
            yield entry.key, EventType(schema.text(value.name), schema.text(value.display_name), stats)

    def line_events(
        self, line: LineInfo, stats: Iterable[str], keep: Keep | None = None
    ) -> tuple[EventColumns, dict[str, int], EventDecoder]:
        """(events, stat name -> id among the wanted ones, decoder that holds the text values)."""
        wanted = set(stats)
        ids = {name: key for key, name in self.stat_names.items() if name in wanted}
        decoder = EventDecoder(self.source, list(ids.values()))
        return decoder.line(line.start, line.end, keep), ids, decoder

    def _values(self, stats: Iterable[Any]) -> dict[str, StatValue]:
        return {self.stat_names.get(stat.metadata_id, ""): self._value(stat) for stat in stats}

    def _value(self, stat: Any) -> StatValue:
        if stat.HasField("ref_value"):
            return self.stat_names.get(stat.ref_value, "")
        if stat.HasField("str_value"):
            return schema.text(stat.str_value)
        for name in ("int64_value", "uint64_value", "double_value", "bytes_value"):
            if stat.HasField(name):
                value: StatValue = getattr(stat, name)
                return value
        return 0


@dataclass
class Contents:
    """What the file holds, without its events."""

    planes: list[Plane]
    errors: list[str]
    warnings: list[str]

    def plane(self, name: str) -> Plane | None:
        return next((plane for plane in self.planes if plane.name == name), None)


def contents(source: ByteSource) -> Contents:
    """Scan the file's outline. Raises Malformed."""
    found = Contents([], [], [])
    for item in fields(source, 0, source.size):
        if item.number == schema.XSPACE_PLANES and item.wire_type == BYTES:
            if len(found.planes) >= _MOST_PLANES:
                raise Malformed(f"more than {_MOST_PLANES} planes")
            found.planes.append(_plane(source, item))
        elif item.number == schema.XSPACE_ERRORS and item.wire_type == BYTES:
            found.errors.append(_text(source, item))
        elif item.number == schema.XSPACE_WARNINGS and item.wire_type == BYTES:
            found.warnings.append(_text(source, item))
    return found


def parse(message: Any, source: ByteSource, item: Field) -> Any:
    """One small message as a protobuf object. Raises Malformed."""
    try:
        return message.FromString(source.read(item.start, item.end - item.start))
    except DecodeError as error:
        raise Malformed(f"{message.DESCRIPTOR.name} at byte {item.start} does not parse ({error})") from None


def _plane(source: ByteSource, outer: Field) -> Plane:
    plane = Plane(source)
    lists = {
        schema.XPLANE_EVENT_METADATA: plane.event_metadata,
        schema.XPLANE_STAT_METADATA: plane.stat_metadata,
        schema.XPLANE_STATS: plane.own_stats,
    }
    for item in fields(source, outer.start, outer.end):
        if item.wire_type != BYTES:
            continue
        if item.number == schema.XPLANE_NAME:
            plane.name = _text(source, item)
        elif item.number == schema.XPLANE_LINES:
            plane.lines.append(_line(source, item))
        elif item.number in lists:
            lists[item.number].append(item)
    return plane


def _line(source: ByteSource, outer: Field) -> LineInfo:
    """The line's head. Writers put id, name and timestamp before the events (fields are serialised in order of their numbers)."""
    name, timestamp_ns = "", 0
    for item in fields(source, outer.start, outer.end):
        if item.number == schema.XLINE_NAME and item.wire_type == BYTES:
            name = _text(source, item)
        elif item.number == schema.XLINE_TIMESTAMP_NS and item.wire_type == VARINT:
            timestamp_ns = signed(item.value)
        elif item.number >= schema.XLINE_EVENTS:
            break
    return LineInfo(name, timestamp_ns, outer.start, outer.end)


def _text(source: ByteSource, item: Field) -> str:
    return schema.text(source.read(item.start, item.end - item.start))
