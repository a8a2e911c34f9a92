"""Decoding events in bulk against protobuf's own parser, on events of every shape and on lines cut into tiny chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import columns
from profiles.columns import KIND_ABSENT, KIND_DOUBLE, KIND_INT64, KIND_REF, KIND_STRING, KIND_UINT64, EventColumns, EventDecoder
from profiles.wire import ByteSource, Malformed, encoded
from tests.oracles.xspace import XSpace
from tests.quick import examples

INT64 = st.integers(-(2**63), 2**63 - 1)
STAT = st.one_of(
    st.tuples(st.just("int64_value"), INT64),
    st.tuples(st.just("uint64_value"), st.integers(0, 2**64 - 1)),
    st.tuples(st.just("ref_value"), st.integers(0, 2**20)),
    st.tuples(st.just("double_value"), st.floats(allow_nan=False)),
    st.tuples(st.just("str_value"), st.text(max_size=300)),
)
EVENT = st.fixed_dictionaries(
    {"metadata_id": INT64, "offset_ps": INT64, "duration_ps": INT64, "stats": st.dictionaries(st.integers(1, 4), STAT, max_size=4)}
)
KINDS = {
    "int64_value": KIND_INT64,
    "uint64_value": KIND_UINT64,
    "ref_value": KIND_REF,
    "double_value": KIND_DOUBLE,
    "str_value": KIND_STRING,
}


def written(tmp_path: Path, events: list[dict[str, Any]]) -> tuple[ByteSource, int]:
    """A line alone in a file."""
    line = XSpace().planes.add().lines.add(id=3, name="line", timestamp_ns=5, duration_ps=9, display_name="shown")
    for each in events:
        event = line.events.add(metadata_id=each["metadata_id"], offset_ps=each["offset_ps"], duration_ps=each["duration_ps"])
        for key, (kind, value) in each["stats"].items():
            setattr(event.stats.add(metadata_id=key), kind, value)
    data = line.SerializeToString()
    path = tmp_path / "line.pb"
    path.write_bytes(data)
    return ByteSource(path), len(data)


@pytest.mark.slow
@examples(60)
@given(st.lists(EVENT, max_size=40), st.sampled_from([64, 700, 1 << 22]))
def test_columns_equal_what_protobuf_parses(tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]], chunk: int) -> None:
    source, size = written(tmp_path_factory.mktemp("c"), events)
    decoder = EventDecoder(source, [1, 2, 3])
    with pytest.MonkeyPatch.context() as patch, source:
        patch.setattr(columns, "CHUNK_BYTES", chunk)
        found = decoder.line(0, size)
    assert found.metadata_id.tolist() == [each["metadata_id"] for each in events]
    assert found.offset_ps.tolist() == [each["offset_ps"] for each in events]
    assert found.duration_ps.tolist() == [each["duration_ps"] for each in events]
    for key in (1, 2, 3):
        column = found.stats[key]
        for row, each in enumerate(events):
            if key not in each["stats"]:
                assert column.kind[row] == KIND_ABSENT
                continue
            kind, value = each["stats"][key]
            assert column.kind[row] == KINDS[kind]
            assert stat_value(kind, int(column.value[row]), decoder) == value


def stat_value(kind: str, raw: int, decoder: EventDecoder) -> Any:
    if kind == "str_value":
        return decoder.strings[raw]
    if kind == "double_value":
        return float(np.int64(raw).view(np.float64))
    return raw % 2**64 if kind == "uint64_value" else raw


def test_only_what_is_kept_survives(tmp_path: Path) -> None:
    source, size = written(tmp_path, [{"metadata_id": index, "offset_ps": index, "duration_ps": 1, "stats": {}} for index in range(1000)])

    def keep(events: EventColumns) -> Any:
        return events.metadata_id % 100 == 0

    with source:
        assert EventDecoder(source, []).line(0, size, keep).metadata_id.tolist() == list(range(0, 1000, 100))


@given(st.integers(0, 2**40), st.integers(1, 2**40))
def test_a_line_that_mentions_a_type_is_never_skipped(tmp_path_factory: pytest.TempPathFactory, wanted: int, offset: int) -> None:
    event = {"metadata_id": wanted, "offset_ps": offset, "duration_ps": 1, "stats": {1: ("str_value", "x" * 200)}}
    other = {"metadata_id": wanted + 1, "offset_ps": offset, "duration_ps": 1, "stats": {}}
    folder = tmp_path_factory.mktemp("m")
    source, size = written(folder, [other] * 20 + [event])
    with source, pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "CHUNK_BYTES", 50)
        assert EventDecoder(source, []).mentions(0, size, [wanted])
    source, size = written(folder, [other] * 20)
    with source:
        assert not EventDecoder(source, []).mentions(0, size, [wanted + 2])


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"\x08" + b"\xff" * 10 + b"\x01", "longer than ten bytes"),
        (b"\x08\x01\x22\x7f\x08", "beyond its message"),
        (b"\x0b\x08", "unknown type"),
        (b"\x08\x01" * 1000, "more than"),
        (b"\x08", "beyond its message"),
    ],
)
def test_a_broken_event_is_malformed(tmp_path: Path, payload: bytes, why: str) -> None:
    path = tmp_path / "broken.pb"
    data = b"\x22" + encoded(len(payload)) + payload
    path.write_bytes(data)
    with ByteSource(path) as source, pytest.raises(Malformed, match=why):
        EventDecoder(source, [1]).line(0, len(data))


def test_a_line_that_ends_inside_an_event_is_malformed(tmp_path: Path) -> None:
    source, size = written(tmp_path, [{"metadata_id": 1, "offset_ps": 2**50, "duration_ps": 5, "stats": {}}])
    with source, pytest.raises(Malformed):
        EventDecoder(source, []).line(0, size - 10)
