"""Cut a profile into engine steps and say where each step's time went.

A step starts where the step program starts and lasts until it starts again, so everything in between (sampling, logits, gaps) is part of
it: the categories and the two gaps add up to the step's time exactly. The step program is the module (all its compiled shapes) that takes
most device time. On a TPU times are the device clock's; the modules line has only aligned times, so a program spans its first to its last
op. Several devices run the same steps: times are means over the devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.classify import CATEGORIES, Category, classify
from profiles.errors import ProfileError
from profiles.reader import HostProfile
from profiles.scopes import fold, group
from profiles.selftime import Floats, Ints, Segments, cut_at, divide, segments
from profiles.timeline import DeviceTimeline, OpType

PS_PER_MS = 1e9
_BREAK = 20.0  # a period this many times the median is a pause of the engine, not a step


@dataclass(frozen=True)
class ScopeKey:
    """What time is summed under: comparable between compilations (see `profiles.scopes.fold`)."""

    category: Category
    scope: str


@dataclass(frozen=True)
class Steps:
    """Steps of a profile in order; times in milliseconds. `closed` steps have a successor and no pause: only they enter statistics."""

    program: str
    clock: str
    devices: int
    start_ms: Floats  # [steps], on the profile's clock
    host_start_ms: Floats  # [steps], aligned to the host's clock
    span_ms: Floats  # [steps], the step program alone, first to last op
    period_ms: Floats  # [steps], the step's time
    shape: Ints  # [steps], equal where the same compiled program ran
    closed: NDArray[np.bool_]  # [steps]
    category_ms: Floats  # [categories, steps], in the order of classify.CATEGORIES
    work: Floats  # [2, categories, steps]: floating point operations, and bytes read and written in HBM; 0 where unknown
    scopes: tuple[ScopeKey, ...]
    scope_ms: Floats  # [scopes, steps]
    unequal_devices: tuple[str, ...] = ()  # devices left out because they ran another number of steps

    def category(self, category: Category) -> Floats:
        row: Floats = self.category_ms[CATEGORIES.index(category)]
        return row


@dataclass(frozen=True)
class _DeviceSteps:
    start: Ints
    host_start: Ints
    span: Ints
    edges: Ints  # [steps + 1]
    shape: Ints
    scope_ps: Floats  # [scopes, steps]
    work: Floats  # [2, scopes, steps]
    busy_ps: Floats  # [steps]
    program_ps: Floats  # [steps], time in which some program was on the device


def find_steps(profile: HostProfile) -> Steps:
    """Raises ProfileError where no program ran often enough to be a step, or the devices disagree completely."""
    pieces = {device.name: _pieces(device, profile.op_types) for device in profile.devices}
    keys, op_key = _scope_keys(profile.op_types, _loop_control(profile, pieces))
    per_op = np.array([[0, 0] if kind.container else [kind.flops, kind.hbm_bytes] for kind in profile.op_types], np.float64).T
    module_of = _modules(profile)
    program = _step_program(profile, module_of, pieces)
    found: dict[str, _DeviceSteps] = {}
    for device in profile.devices:
        runs = np.array([module_of.get(int(key), "") == program for key in device.runs.program_id.tolist()], np.bool_)
        if runs.any():
            found[device.name] = _cut(device, runs, pieces[device.name], op_key, len(keys), per_op)
    if not found:
        raise ProfileError(f"{profile.path}: no program ran as a whole; profile again while the engine serves requests")
    counts = [len(steps.start) for steps in found.values()]
    count = max(set(counts), key=counts.count)
    used = [steps for steps in found.values() if len(steps.start) == count]
    left_out = tuple(name for name, steps in found.items() if len(steps.start) != count)
    return _merge(program, profile.devices[0].clock, used, keys, left_out)


def _scope_keys(types: Sequence[OpType], control: NDArray[np.bool_]) -> tuple[list[ScopeKey], Ints]:
    """(keys, index of the key of each op type). `control` [op types]: see _loop_control."""
    index: dict[ScopeKey, int] = {}
    of_type = []
    for kind, is_control in zip(types, control.tolist(), strict=True):
        category = Category.LOOP_CONTROL if is_control else classify(kind.scope, kind.context, kind.hlo_category, kind.module)[0]
        scope = group(kind.scope) if kind.scope else f"{fold(kind.module)}/({kind.hlo_category or 'unknown'})"
        of_type.append(index.setdefault(ScopeKey(category, scope), len(index)))
    return list(index), np.array(of_type, np.int64)


def _modules(profile: HostProfile) -> dict[int, str]:
    return {kind.program_id: kind.module for kind in profile.op_types}


@dataclass(frozen=True)
class _Pieces:
    """Time of one device cut into self time, and what each piece is worth where lanes overlap."""

    cut: Segments
    op: NDArray[np.int32]
    container: NDArray[np.bool_]


def _pieces(device: DeviceTimeline, types: Sequence[OpType]) -> _Pieces:
    parts = []
    for lane in np.unique(device.lane).tolist():
        mine = np.flatnonzero(device.lane == lane)
        start, end = device.start_ps[mine], device.end_ps[mine]
        if lane < 0:  # every op for itself, none nests
            parts.append(Segments(start, end, mine))
        else:
            cut = segments(start, end)
            parts.append(Segments(cut.start, cut.end, mine[cut.owner]))
    joined = Segments(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    op = device.op[joined.owner]
    return _Pieces(joined, op, np.array([kind.container for kind in types], np.bool_)[op])


def _loop_control(profile: HostProfile, pieces: Mapping[str, _Pieces]) -> NDArray[np.bool_]:
    """[op types]: loops of XLA:CPU whose bodies were traced. What such a loop does not spend in its body goes to the tracer, which names
    each event of the body before it starts: a loop over 512 tokens took 3 ms longer traced, and nothing of note untraced. A loop that was
    compiled to one kernel shows no body: all of its time is work. An accelerator is traced by its hardware, at no cost to its loops."""
    own, whole = np.zeros(len(profile.op_types)), np.zeros(len(profile.op_types))
    for device in profile.devices:
        if device.clock == "host":
            piece = pieces[device.name]
            own += np.bincount(piece.op, piece.cut.end - piece.cut.start, minlength=len(own))
            whole += np.bincount(device.op, device.end_ps - device.start_ps, minlength=len(own))
    return np.array([kind.container for kind in profile.op_types], np.bool_) & (own < whole)


def _step_program(profile: HostProfile, module_of: dict[int, str], pieces: dict[str, _Pieces]) -> str:
    """The module with the most device time among those that ran as programs."""
    module_names = [kind.module for kind in profile.op_types]
    ran = {module_of.get(int(key), "") for device in profile.devices for key in np.unique(device.runs.program_id).tolist()}
    total: dict[str, float] = {}
    for device in profile.devices:
        piece = pieces[device.name]
        by_type = np.bincount(piece.op, piece.cut.end - piece.cut.start, minlength=len(module_names))
        for module, time in zip(module_names, by_type.tolist(), strict=True):
            if module in ran:
                total[module] = total.get(module, 0.0) + time
    if not total:
        raise ProfileError(f"{profile.path}: no op lies inside a program; profile again while the engine serves requests")
    return max(total, key=lambda module: total[module])


def _cut(device: DeviceTimeline, is_step: NDArray[np.bool_], pieces: _Pieces, op_key: Ints, keys: int, per_op: Floats) -> _DeviceSteps:
    steps = np.flatnonzero(is_step)
    start = device.runs.start_ps[steps]
    final = max(int(device.end_ps.max()), int(start[-1]) + 1)
    edges = np.append(start, final)
    owners = np.arange(len(pieces.cut.start))
    cut = cut_at(Segments(pieces.cut.start, pieces.cut.end, owners), edges)
    worth = divide(cut, pieces.container[cut.owner])
    window = np.searchsorted(edges, cut.start, side="right") - 1
    inside = (window >= 0) & (window < len(steps))
    key = op_key[pieces.op[cut.owner]]
    flat = _sums(key[inside] * len(steps) + window[inside], worth[inside], keys * len(steps))
    host = np.full(len(device.runs.run_id), np.iinfo(np.int64).max)
    in_run = device.run >= 0
    np.minimum.at(host, device.run[in_run], device.aligned_start_ps[in_run])
    return _DeviceSteps(
        start=start,
        host_start=host[steps],
        span=device.runs.end_ps[steps] - start,
        edges=edges,
        shape=np.unique(device.runs.program_id[steps], return_inverse=True)[1].astype(np.int64),
        scope_ps=flat.reshape(keys, len(steps)),
        work=_work(device, edges, op_key, keys, per_op),
        busy_ps=_sums(window[inside], worth[inside], len(steps)),
        program_ps=_covered(device.runs.start_ps, device.runs.end_ps, edges),
    )


def _work(device: DeviceTimeline, edges: Ints, op_key: Ints, keys: int, per_op: Floats) -> Floats:
    """[2, keys, steps]: what the executions that start in each window do, `per_op` [2, op types] each."""
    steps = len(edges) - 1
    window = np.searchsorted(edges, device.start_ps, side="right") - 1
    inside = (window >= 0) & (window < steps)
    op = device.op[inside]
    place = op_key[op] * steps + window[inside]
    return np.stack([_sums(place, row[op], keys * steps).reshape(keys, steps) for row in per_op])


def _covered(start: Ints, end: Ints, edges: Ints) -> Floats:
    """In each window between two edges, the time in which at least one of the spans runs."""
    cut = cut_at(Segments(start, end, np.arange(len(start))), edges)
    worth = divide(cut, np.zeros(len(cut.start), np.bool_))
    window = np.searchsorted(edges, cut.start, side="right") - 1
    inside = (window >= 0) & (window < len(edges) - 1)
    return _sums(window[inside], worth[inside], len(edges) - 1)


def _sums(index: Ints, weights: Floats, size: int) -> Floats:
    return np.bincount(index, weights, minlength=size).astype(np.float64)


def _merge(program: str, clock: str, devices: Sequence[_DeviceSteps], keys: Sequence[ScopeKey], left_out: tuple[str, ...]) -> Steps:
    def mean(rows: Sequence[Floats | Ints]) -> Floats:
        result: Floats = np.mean(np.stack(rows), axis=0) / PS_PER_MS
        return result

    period = mean([np.diff(steps.edges) for steps in devices])
    scope_ms = mean([steps.scope_ps for steps in devices])
    scope_work = np.mean(np.stack([steps.work for steps in devices]), axis=0)
    category_ms, work = np.zeros((len(CATEGORIES), len(period))), np.zeros((2, len(CATEGORIES), len(period)))
    for row, key in enumerate(keys):
        category_ms[CATEGORIES.index(key.category)] += scope_ms[row]
        work[:, CATEGORIES.index(key.category)] += scope_work[:, row]
    on_device = mean([np.maximum(steps.program_ps, steps.busy_ps) for steps in devices])
    category_ms[CATEGORIES.index(Category.IDLE)] = on_device - mean([steps.busy_ps for steps in devices])
    category_ms[CATEGORIES.index(Category.HOST_GAP)] = period - on_device
    closed = period <= _BREAK * np.median(period)
    closed[-1] = False
    return Steps(
        program=program,
        clock=clock,
        devices=len(devices),
        start_ms=mean([steps.start for steps in devices]),
        host_start_ms=mean([steps.host_start for steps in devices]),
        span_ms=mean([steps.span for steps in devices]),
        period_ms=period,
        shape=devices[0].shape,
        closed=closed if closed.any() else np.ones(len(period), np.bool_),
        category_ms=category_ms,
        work=work,
        scopes=tuple(keys),
        scope_ms=scope_ms,
        unequal_devices=left_out,
    )
