"""Totals of a profile, recomputed from the raw planes by other means than the product's: a full protobuf parse, plain Python, no columns.

Self time here is an op's duration minus its children's, found by containment; the product cuts time into pieces. Parts over threads are
counted instant by instant with the set of what runs; the product uses prefix sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oracles.xspace import XSpace


@dataclass(frozen=True)
class RawOp:
    program_id: int
    name: str
    lane: str
    start: int
    end: int
    run_id: int = 0


def tpu_ops(path: Path) -> list[RawOp]:
    """Every event of every `XLA Ops` line, on the device's clock (picoseconds)."""
    ops = []
    for plane in XSpace.FromString(path.read_bytes()).planes:
        if not plane.name.startswith("/device:TPU:"):
            continue
        stat_name = {entry.key: entry.value.name for entry in plane.stat_metadata}
        kinds = {entry.key: entry.value for entry in plane.event_metadata}
        for line in plane.lines:
            for event in line.events if line.name == "XLA Ops" else ():
                stats = {stat_name[stat.metadata_id]: stat for stat in event.stats}
                start = stats["device_offset_ps"].uint64_value
                constant = {stat_name[stat.metadata_id]: stat for stat in kinds[event.metadata_id].stats}
                program = constant["program_id"]
                program_id = (program.uint64_value or program.int64_value) % 2**64
                end = start + stats["device_duration_ps"].uint64_value
                ops.append(RawOp(program_id, kinds[event.metadata_id].display_name, plane.name, start, end))
    return ops


def cpu_ops(path: Path) -> list[RawOp]:
    """Every HLO event among the host's threads (picoseconds since the file's earliest line), ended where its `end:` event says so."""
    plane = next(plane for plane in XSpace.FromString(path.read_bytes()).planes if plane.name == "/host:CPU")
    names = {entry.key: entry.value.name for entry in plane.stat_metadata}
    kinds = {entry.key: entry.value.name for entry in plane.event_metadata}
    base = min(line.timestamp_ns for line in plane.lines)
    ends: dict[int, int] = {}
    found: list[tuple[RawOp, int | None]] = []
    for line in plane.lines:
        for event in line.events:
            stats = {names[stat.metadata_id]: _value(stat, names) for stat in event.stats}
            start = (line.timestamp_ns - base) * 1000 + event.offset_ps
            if "hlo_op" in stats:
                op = RawOp(stats["program_id"], stats["hlo_op"], line.name, start, start + event.duration_ps, stats["run_id"])
                found.append((op, stats.get("_p")))
            elif kinds[event.metadata_id].startswith("end: ") and "_c" in stats:
                ends[stats["_c"]] = start
    ops = []
    for index, (op, flow) in enumerate(found):
        until = ends.get(flow, op.end) if flow is not None else op.end
        if until > op.end:
            op = RawOp(op.program_id, op.name, f"elsewhere {index}", op.start, until, op.run_id)
        ops.append(op)
    return ops


def _value(stat: Any, names: dict[int, str]) -> Any:
    if stat.HasField("ref_value"):
        return names[stat.ref_value]
    for kind in ("int64_value", "uint64_value", "str_value", "double_value"):
        if stat.HasField(kind):
            return getattr(stat, kind)
    return None


def self_time(ops: list[RawOp]) -> dict[tuple[int, str], int]:
    """(program id, op) -> duration minus the durations of what it directly contains, lane by lane."""
    total: dict[tuple[int, str], int] = defaultdict(int)
    for op, parent in _with_parents(ops):
        total[op.program_id, op.name] += op.end - op.start
        if parent is not None:
            total[parent.program_id, parent.name] -= op.end - op.start
    return dict(total)


def with_traced_bodies(ops: list[RawOp], containers: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of the containers inside which another op ran, on their own lane."""
    parents = {(parent.program_id, parent.name) for op, parent in _with_parents(ops) if parent is not None and op.end > op.start}
    return parents & containers


def _with_parents(ops: list[RawOp]) -> Iterator[tuple[RawOp, RawOp | None]]:
    """Each op with the one that directly contains it on its lane."""
    lanes: dict[str, list[RawOp]] = defaultdict(list)
    for op in ops:
        lanes[op.lane].append(op)
    for lane in lanes.values():
        stack: list[RawOp] = []
        for op in sorted(lane, key=lambda each: (each.start, -each.end)):
            while stack and stack[-1].end <= op.start:
                stack.pop()
            yield op, stack[-1] if stack else None
            stack.append(op)


def parts(ops: list[RawOp], containers: set[tuple[int, str]]) -> dict[tuple[int, str], float]:
    """(program id, op) -> time, every instant divided among the lanes that run something (containers only where nothing else does)."""
    moments = sorted({moment for op in ops for moment in (op.start, op.end)})
    starting, ending = defaultdict(list), defaultdict(list)
    for op in ops:
        if op.end > op.start:
            starting[op.start].append(op)
            ending[op.end].append(op)
    running: dict[str, list[RawOp]] = defaultdict(list)
    total: dict[tuple[int, str], float] = defaultdict(float)
    for moment, following in zip(moments, [*moments[1:], moments[-1]], strict=True):
        for op in ending[moment]:
            running[op.lane].remove(op)
        for op in starting[moment]:
            running[op.lane].append(op)
        innermost = [max(lane, key=lambda op: (op.start, -op.end)) for lane in running.values() if lane]
        leaves = [op for op in innermost if (op.program_id, op.name) not in containers] or innermost
        for op in leaves:
            total[op.program_id, op.name] += (following - moment) / len(leaves)
    return dict(total)
