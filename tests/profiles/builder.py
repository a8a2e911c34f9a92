"""Small profiles made to measure, written with the oracle's full schema: every duration in them is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.oracles.xspace import HloProto, XSpace

US = 10**6  # picoseconds


@dataclass(frozen=True)
class Op:
    """One execution: when, how long (microseconds), which instruction."""

    name: str
    start_us: float
    duration_us: float
    scope: str = ""
    hlo_category: str = "loop fusion"
    thread: str = "tf_XLAEigen/1"


@dataclass
class Run:
    """One execution of a program."""

    module: str
    program_id: int
    run_id: int
    ops: list[Op] = field(default_factory=list)


class PlaneBuilder:
    """A plane with its metadata tables."""

    def __init__(self, space: Any, name: str) -> None:
        """A new plane of that name, or the one that is there."""
        found = next((plane for plane in space.planes if plane.name == name), None)
        self.plane = found if found is not None else space.planes.add(name=name)
        self._stats: dict[str, int] = {entry.value.name: entry.key for entry in self.plane.stat_metadata}
        self._events: dict[str, int] = {entry.value.name: entry.key for entry in self.plane.event_metadata}

    def stat_id(self, name: str) -> int:
        if name not in self._stats:
            self._stats[name] = len(self._stats) + 1
            entry = self.plane.stat_metadata.add(key=self._stats[name])
            entry.value.id, entry.value.name = self._stats[name], name
        return self._stats[name]

    def event_id(self, name: str, display_name: str = "", **stats: int | str) -> int:
        if name not in self._events:
            self._events[name] = len(self._events) + 1
            entry = self.plane.event_metadata.add(key=self._events[name])
            entry.value.id, entry.value.name, entry.value.display_name = self._events[name], name, display_name
            for key, value in stats.items():
                self.set(entry.value.stats.add(), key, value)
        return self._events[name]

    def line(self, name: str, timestamp_ns: int = 1000) -> Any:
        found = next((line for line in self.plane.lines if line.name == name), None)
        if found is not None:
            return found
        return self.plane.lines.add(id=len(self.plane.lines) + 1, name=name, timestamp_ns=timestamp_ns)

    def event(self, line: Any, metadata_id: int, start_us: float, duration_us: float, **stats: int | str) -> Any:
        event = line.events.add(metadata_id=metadata_id, offset_ps=round(start_us * US), duration_ps=round(duration_us * US))
        for key, value in stats.items():
            self.set(event.stats.add(), key, value)
        return event

    def set(self, stat: Any, name: str, value: int | str) -> None:
        stat.metadata_id = self.stat_id(name)
        if isinstance(value, str):
            stat.ref_value = self.stat_id(value)
        elif value < 0:
            stat.int64_value = value
        else:
            stat.uint64_value = value


def tpu_xspace(runs: Sequence[Run], *, stretch: float = 1.0, devices: int = 1, markers: Sequence[tuple[float, str]] = ()) -> bytes:
    """A profile as a TPU writes it. Times are the device's clock; the aligned ones are `stretch` times as long."""
    space = XSpace()
    for device in range(devices):
        plane = PlaneBuilder(space, f"/device:TPU:{device}")
        modules, ops = plane.line("XLA Modules"), plane.line("XLA Ops")
        for run in runs:
            start = min(op.start_us for op in run.ops) * stretch
            end = max(op.start_us + op.duration_us for op in run.ops) * stretch
            plane.event(modules, plane.event_id(f"{run.module}({run.program_id})"), start, end - start, run_id=run.run_id)
            for op in run.ops:
                kind = plane.event_id(
                    f"%{op.name} = f32[8]{{0}} fusion() [{run.program_id}]",
                    op.name,
                    hlo_category=op.hlo_category,
                    program_id=run.program_id,
                    **({"tf_op": op.scope + ":"} if op.scope else {}),
                )
                clock = {"device_offset_ps": round(op.start_us * US), "device_duration_ps": round(op.duration_us * US)}
                plane.event(ops, kind, op.start_us * stretch, op.duration_us * stretch, **clock)
    host = PlaneBuilder(space, "/host:CPU")
    for at, text in markers:
        host.event(host.line("python"), host.event_id(text), at, 1.0)
    data: bytes = space.SerializeToString()
    return data


def cpu_xspace(
    runs: Sequence[Run], *, markers: Sequence[tuple[float, str]] = (), late: dict[str, float] | None = None, noise: int = 0
) -> bytes:
    """A profile as XLA:CPU writes it: HLO events on the host's threads, scopes in the HLO modules.

    `late` maps an op's name to the microsecond at which its work ended elsewhere; `noise` adds so many events that nobody wants.
    """
    space = XSpace()
    _hlo_plane(space, runs)
    host = PlaneBuilder(space, "/host:CPU")
    flow = 100
    for run in runs:
        for op in run.ops:
            flow += 1
            stats: dict[str, int | str] = {"hlo_op": op.name, "hlo_module": run.module, "program_id": run.program_id, "run_id": run.run_id}
            host.event(host.line(op.thread), host.event_id(op.name), op.start_us, op.duration_us, **stats, _p=flow)
            end = (late or {}).get(op.name, op.start_us + op.duration_us)
            host.event(host.line("tf_XLAEigen/9"), host.event_id(f"end: {op.name}"), end, 0.1, _c=flow)
    for at, text in markers:
        host.event(host.line("python"), host.event_id(text), at, 1.0)
    for index in range(noise):
        host.event(host.line("python"), host.event_id(f"$module.py:{index % 50} function"), float(index), 0.5)
    data: bytes = space.SerializeToString()
    return data


def _hlo_plane(space: Any, runs: Sequence[Run]) -> None:
    plane = PlaneBuilder(space, "/host:metadata")
    scopes: dict[tuple[str, int], dict[str, str]] = {}
    for run in runs:
        scopes.setdefault((run.module, run.program_id), {}).update({op.name: op.scope for op in run.ops})
    for (module, program_id), ops in scopes.items():
        proto = HloProto()
        proto.hlo_module.name = module
        entry = proto.hlo_module.computations.add(name="main", id=1)
        for index, (name, scope) in enumerate(ops.items()):
            item = entry.instructions.add(name=name, opcode="while" if name.startswith("while") else "fusion", id=index + 1)
            item.metadata.op_name = scope
        plane.event_id(f"{module}({program_id})")
        stat = plane.plane.event_metadata[-1].value.stats.add(metadata_id=plane.stat_id("hlo_proto"))
        stat.bytes_value = proto.SerializeToString()


def model_runs(
    steps: int = 8,
    *,
    factor: dict[str, float] | None = None,
    names: str = "fusion",
    program_id: int = 7,
    gap_us: float = 30.0,
    jitter: bool = True,
) -> list[Run]:
    """Steps of a small model: fixed durations, a bit different in every step, times `factor` by scope. A sampling program follows each."""
    parts = [
        ("layers.{}/self_attn/tuner_kv_write_token/scatter", 12.0),
        ("layers.{}/self_attn/tuner_attention_prefill/dot_general", 40.0),
        ("layers.{}/mlp/dot_general", 60.0),
        ("layers.{}/input_layernorm/mul", 5.0),
    ]
    runs, now = [], 0.0
    for step in range(steps):
        ops, serial = [], 0
        for layer in (0, 1):
            for scope, base in parts:
                slower = next((value for key, value in (factor or {}).items() if key in scope), 1.0)
                duration = base * slower * (1 + 0.01 * ((step * 7 + serial) % 5) if jitter else 1)
                ops.append(Op(f"{names}.{serial}", now, duration, f"jit(step_fun)/jit(main)/{scope.format(layer)}"))
                now, serial = now + duration + 1.0, serial + 1
        runs.append(Run("jit_step_fun", program_id, 1000 + step, ops))
        now += 4.0
        runs.append(Run("jit_sample", program_id + 1, 1000 + step, [Op(f"{names}.0", now, 9.0, "jit(sample)/jit(main)/argmax")]))
        now += 9.0 + gap_us
    return runs


def later(runs: Sequence[Run], by_us: float, *, runs_by: int = 0, programs_by: int = 0) -> list[Run]:
    """The same runs at another time, with other ids."""
    return [
        Run(run.module, run.program_id + programs_by, run.run_id + runs_by, [replace(op, start_us=op.start_us + by_us) for op in run.ops])
        for run in runs
    ]
