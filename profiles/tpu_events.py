"""TPU planes: ops carry their scope, category and program in their metadata, and their times on the device's clock and on the aligned
one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from profiles import schema
from profiles.columns import KIND_ABSENT, EventColumns
from profiles.hlo import split_program
from profiles.planes import EventType, Plane, StatValue
from profiles.scopes import clean
from profiles.timeline import DeviceTimeline, OpType, Peaks, TypeTable, timeline
from profiles.times import Ints, checked, span

DEVICE_PLANE = re.compile(r"^/device:TPU:\d+$")
_OPS_LINE, _MODULES_LINE = "XLA Ops", "XLA Modules"
_OP_STATS = frozenset({"tf_op", "hlo_category", "program_id", "flops", "memory_access_breakdown"})
_PEAK_FLOPS, _PEAK_HBM = "peak_teraflops_per_second", "peak_hbm_bw_gigabytes_per_second"
_DEVICE_OFFSET, _DEVICE_DURATION = "device_offset_ps", "device_duration_ps"
_CONTAINER = re.compile(r"^(while|conditional|call)\b")
_MASK = (1 << 64) - 1
_SANE_WORK, _SANE_PEAK = 1 << 60, 1e9  # more than any op does and any chip can: a damaged file


@dataclass(frozen=True)
class _Modules:
    """Program executions on the aligned clock, sorted by start: arrays [runs]."""

    program_id: NDArray[np.uint64]
    run_id: Ints
    start: Ints
    end: Ints


def read(plane: Plane, table: TypeTable, base: int) -> DeviceTimeline | None:
    """One core's timeline, or None where no op was traced. Raises Malformed."""
    kinds = dict(plane.event_types(_OP_STATS))
    modules = _modules(plane, kinds, base)
    line = next((line for line in plane.lines if line.name == _OPS_LINE), None)
    if line is None:
        return None
    events, ids, _ = plane.line_events(line, (_DEVICE_OFFSET, _DEVICE_DURATION))
    if not len(events.metadata_id):
        return None
    names = {program: module for module, program in (split_program(kind.name) for kind in kinds.values()) if program >= 0}
    op = _ops(events, kinds, names, table)
    aligned = span(line, events, base)
    clock, times = _device_clock(events, ids) or ("aligned", aligned)
    run = np.searchsorted(modules.start, aligned[0], side="right").astype(np.int32) - 1
    outside = (run < 0) | (aligned[0] >= np.append(modules.end, -1)[run])
    run[outside] = -1
    return timeline(
        plane.name,
        clock,
        op=op,
        run=run,
        lane=np.zeros(len(op), np.int32),
        times=times,
        aligned=aligned,
        run_keys=(modules.program_id, modules.run_id),
    )


def _modules(plane: Plane, kinds: dict[int, EventType], base: int) -> _Modules:
    line = next((line for line in plane.lines if line.name == _MODULES_LINE), None)
    if line is None:
        empty = np.empty(0, np.int64)
        return _Modules(empty.astype(np.uint64), empty, empty, empty)
    events, ids, _ = plane.line_events(line, ("run_id",))
    start, end = span(line, events, base)
    programs = {key: split_program(kind.name)[1] & _MASK for key, kind in kinds.items()}
    program_id = np.array([programs.get(key, 0) for key in events.metadata_id.tolist()], np.uint64)
    run_id = events.stats[ids["run_id"]].value if "run_id" in ids else np.arange(len(start))
    order = np.argsort(start, kind="stable")
    return _Modules(program_id[order], run_id[order], start[order], end[order])


def _ops(events: EventColumns, kinds: dict[int, EventType], names: dict[int, str], table: TypeTable) -> NDArray[np.int32]:
    used, inverse = np.unique(events.metadata_id, return_inverse=True)
    indices = np.array([table.add(_op_type(kinds.get(key, EventType(str(key), "", {})), names)) for key in used.tolist()], np.int32)
    return indices[inverse]


def _op_type(kind: EventType, names: dict[int, str]) -> OpType:
    program = kind.stats.get("program_id", -1)
    program_id = program & _MASK if isinstance(program, int) and program != -1 else -1
    category = str(kind.stats.get("hlo_category", ""))
    return OpType(
        program_id=program_id,
        module=names.get(program_id, ""),
        name=kind.display_name or kind.name.split(" ", 1)[0].lstrip("%"),
        scope=clean(str(kind.stats.get("tf_op", ""))),
        context="",
        hlo_category=category,
        container=_CONTAINER.match(category) is not None,
        flops=_count(kind.stats.get("flops")),
        hbm_bytes=_hbm_bytes(kind.stats.get("memory_access_breakdown")),
    )


def peaks(plane: Plane) -> Peaks:
    """What the chip can do, as the profiler wrote it down."""
    teraflops, gigabytes = plane.stats.get(_PEAK_FLOPS), plane.stats.get(_PEAK_HBM)
    return Peaks(*(float(value) if isinstance(value, int | float) and 0 < value < _SANE_PEAK else None for value in (teraflops, gigabytes)))


def _count(value: StatValue | None) -> int:
    return value if isinstance(value, int) and 0 < value < _SANE_WORK else 0


def _hbm_bytes(breakdown: StatValue | None) -> int:
    """Bytes in HBM out of the memory access breakdown: `bytes_accessed` would count on-chip and host memory, too, and a copy twice."""
    if not isinstance(breakdown, bytes):
        return 0
    try:
        accesses = schema.MemoryAccessBreakdown.FromString(breakdown).accesses
    except DecodeError:
        return 0
    return _count(sum(access.bytes_accessed for access in accesses if access.memory_space == schema.HBM))


def _device_clock(events: EventColumns, ids: dict[str, int]) -> tuple[str, tuple[Ints, Ints]] | None:
    """The device's own times, where every event has them."""
    if not {_DEVICE_OFFSET, _DEVICE_DURATION} <= ids.keys():
        return None
    offset, duration = events.stats[ids[_DEVICE_OFFSET]], events.stats[ids[_DEVICE_DURATION]]
    if (offset.kind == KIND_ABSENT).any() or (duration.kind == KIND_ABSENT).any():
        return None
    return "device", checked(offset.value, duration.value)
