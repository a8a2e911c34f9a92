"""The host plane: step markers and compilations everywhere, and on XLA:CPU the HLO ops themselves, spread over the host's threads.

An op of XLA:CPU that ends later than its event (its work went to other threads) is followed by an event `end: <op>` that is linked to it
by a flow id (stats _p and _c); the op then lasts until that event starts.

Two programs may have the same id there (seen with jit_sample and jit_split of one engine), so a program is identified by its id and its
module's name together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from profiles.columns import KIND_ABSENT, KIND_REF, KIND_STRING, EventColumns, EventDecoder, StatColumn
from profiles.planes import Plane
from profiles.timeline import DeviceTimeline, HostEvents, Marker, OpType, TypeTable, timeline
from profiles.times import Ints, base_ns, span

HOST_PLANE = "/host:CPU"
_MARKER = re.compile(r"^execute_model: (\d{1,9}) reqs?, (\d{1,12}) toks?")
_COMPILE = re.compile(r"^backend_compile")
_END = "end: "
_OP_STATS = ("hlo_op", "hlo_module", "program_id", "run_id", "device_ordinal", "_p", "_c")
_OWN_LANE = -1  # an op that went on elsewhere does not nest in its thread


@dataclass
class _Names:
    """Text values of all lines, numbered together."""

    names: list[str]
    index: dict[str, int]

    def column(self, stat: StatColumn, plane: Plane, decoder: EventDecoder) -> Ints:
        """Number of each value's text; -1 where the event lacks the stat or the value is no text."""
        pairs = stat.kind.astype(np.int64) << 56 | (stat.value & ((1 << 56) - 1))
        used, inverse = np.unique(pairs, return_inverse=True)
        numbers = np.array([self._number(pair >> 56, pair & ((1 << 56) - 1), plane, decoder) for pair in used.tolist()], np.int64)
        return numbers[inverse] if len(numbers) else np.empty(0, np.int64)

    def _number(self, kind: int, value: int, plane: Plane, decoder: EventDecoder) -> int:
        if kind == KIND_REF and value in plane.stat_names:
            text = plane.stat_names[value]
        elif kind == KIND_STRING:
            text = decoder.strings[value]
        else:
            return -1
        number = self.index.setdefault(text, len(self.names))
        if number == len(self.names):
            self.names.append(text)
        return number


@dataclass(frozen=True)
class _Line:
    """HLO ops of one thread, each array [ops], and the ends of those that went on elsewhere."""

    op: Ints
    module: Ints
    program_id: NDArray[np.uint64]
    run_id: Ints
    device: Ints
    flow: Ints
    start: Ints
    end: Ints
    end_flow: Ints
    end_at: Ints


def read(plane: Plane, table: TypeTable, want_ops: bool) -> tuple[HostEvents, list[DeviceTimeline]]:
    """(markers and compilations, timelines of the host's devices if `want_ops`). Raises Malformed."""
    kinds = {key: kind.name for key, kind in plane.event_types()}
    markers = {key: match for key, name in kinds.items() if (match := _MARKER.match(name))}
    compiles = {key for key, name in kinds.items() if _COMPILE.match(name)}
    ends = np.array([key for key, name in kinds.items() if name.startswith(_END)], np.int64)
    noted = np.array([*markers, *compiles], np.int64)
    base = base_ns([plane])
    names, found, lines = _Names([], {}), HostEvents(), []
    for line in plane.lines:
        if not want_ops and not EventDecoder(plane.source, ()).mentions(line.start, line.end, noted.tolist()):
            continue

        def keep(events: EventColumns) -> NDArray[np.bool_]:
            mask = np.isin(events.metadata_id, noted)
            if want_ops:
                mask |= np.isin(events.metadata_id, ends)
                for key in (key for key in events.stats if plane.stat_names[key] == "hlo_op"):
                    mask |= events.stats[key].kind != KIND_ABSENT
            return mask

        events, ids, decoder = plane.line_events(line, _OP_STATS if want_ops else (), keep)
        start, end = span(line, events, base)
        found = _note(found, events, start, end, markers, compiles)
        if want_ops and "hlo_op" in ids:
            lines.append(_op_line(events, ids, (start, end), names, plane, decoder))
    ordered = HostEvents(tuple(sorted(found.markers, key=lambda marker: marker.start_ps)), found.compilations, found.compile_ps)
    return ordered, _devices(lines, names, table)


def _note(
    found: HostEvents, events: EventColumns, start: Ints, end: Ints, markers: dict[int, re.Match[str]], compiles: set[int]
) -> HostEvents:
    fresh = list(found.markers)
    count, total = found.compilations, found.compile_ps
    for key, begins, ends in zip(events.metadata_id.tolist(), start.tolist(), end.tolist(), strict=True):
        if key in markers:
            fresh.append(Marker(begins, ends - begins, int(markers[key][1]), int(markers[key][2])))
        elif key in compiles:
            count, total = count + 1, total + ends - begins
    return HostEvents(tuple(fresh), count, total)


def _op_line(
    events: EventColumns, ids: dict[str, int], times: tuple[Ints, Ints], names: _Names, plane: Plane, decoder: EventDecoder
) -> _Line:
    """`times`: (start, end) of each event."""
    start, end = times
    absent = StatColumn(np.zeros(len(start), np.uint8), np.zeros(len(start), np.int64))
    stats = {name: events.stats[ids[name]] if name in ids else absent for name in _OP_STATS}
    op = names.column(stats["hlo_op"], plane, decoder)
    is_op = op >= 0
    is_end = ~is_op & (stats["_c"].kind != KIND_ABSENT)
    module = names.column(stats["hlo_module"], plane, decoder)
    return _Line(
        op=op[is_op],
        module=module[is_op],
        program_id=stats["program_id"].value[is_op].view(np.uint64),
        run_id=stats["run_id"].value[is_op],
        device=stats["device_ordinal"].value[is_op],
        flow=np.where(stats["_p"].kind == KIND_ABSENT, -1, stats["_p"].value)[is_op],
        start=start[is_op],
        end=end[is_op],
        end_flow=stats["_c"].value[is_end],
        end_at=start[is_end],
    )


def _devices(lines: list[_Line], names: _Names, table: TypeTable) -> list[DeviceTimeline]:
    if not lines or not sum(len(line.op) for line in lines):
        return []
    joined = _Line(*(np.concatenate(column) for column in zip(*(_columns(line) for line in lines), strict=True)))
    joined = replace(joined, program_id=_own_ids(joined.program_id, joined.module))
    thread = np.repeat(np.arange(len(lines), dtype=np.int32), [len(line.op) for line in lines])
    end, late = _late_ends(joined)
    lane = np.where(late, _OWN_LANE, thread).astype(np.int32)
    op = _types(joined, names, table)
    made = []
    for device in np.unique(joined.device).tolist():
        mine = joined.device == device
        keys, run = np.unique(np.stack([joined.program_id[mine].view(np.int64), joined.run_id[mine]]), axis=1, return_inverse=True)
        times = (joined.start[mine], end[mine])
        run_keys = (keys[0].view(np.uint64), keys[1])
        made.append(
            timeline(
                f"cpu:{device}",
                "host",
                op=op[mine],
                run=run.astype(np.int32),
                lane=lane[mine],
                times=times,
                aligned=times,
                run_keys=run_keys,
            )
        )
    return made


def _own_ids(program_id: NDArray[np.uint64], module: Ints) -> NDArray[np.uint64]:
    """[ops] program ids, of which no two named modules share one: the later of them gets an id that is free."""
    pairs, inverse = np.unique(np.stack([program_id, module.view(np.uint64)]), axis=1, return_inverse=True)
    ids, named = pairs[0].copy(), pairs[1].view(np.int64) >= 0
    shared = np.flatnonzero((ids[1:] == ids[:-1]) & named[1:] & named[:-1]) + 1
    ids[shared] = ids[-1:] + np.arange(1, len(shared) + 1, dtype=np.uint64)
    return np.asarray(ids[inverse], np.uint64)


def _columns(line: _Line) -> tuple[NDArray[np.int64] | NDArray[np.uint64], ...]:
    return (line.op, line.module, line.program_id, line.run_id, line.device, line.flow, line.start, line.end, line.end_flow, line.end_at)


def _late_ends(ops: _Line) -> tuple[Ints, NDArray[np.bool_]]:
    """(end of each op, whether that is later than its event's end)."""
    if not len(ops.end_flow):
        return ops.end, np.zeros(len(ops.end), np.bool_)
    order = np.argsort(ops.end_flow, kind="stable")
    flows = ops.end_flow[order]
    at = np.minimum(np.searchsorted(flows, ops.flow), len(flows) - 1)
    moment = ops.end_at[order][at]
    late = (flows[at] == ops.flow) & (ops.flow != -1) & (moment > ops.end)
    return np.where(late, moment, ops.end), late


def _types(ops: _Line, names: _Names, table: TypeTable) -> NDArray[np.int32]:
    programs, program = np.unique(ops.program_id, return_inverse=True)
    keys, inverse = np.unique(program.astype(np.int64) * len(names.names) + ops.op, return_inverse=True)
    modules = np.zeros(len(keys), np.int64)
    modules[inverse] = ops.module
    made = []
    for key, module in zip(keys.tolist(), modules.tolist(), strict=True):
        program_id = int(programs[key // len(names.names)])
        label = names.names[module] if module >= 0 else ""
        made.append(table.add(OpType(program_id, label, names.names[key % len(names.names)], "", "", "")))
    return np.array(made, np.int32)[inverse]
