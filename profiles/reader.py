"""Read a profile: which ops ran on which device, when, and what they are. Other events are not read.

The file is walked, not parsed (`profiles.planes`), and only these lines are decoded: on a TPU `XLA Modules` and `XLA Ops` of the device
planes and the step markers of the host; on XLA:CPU the HLO events among the host's threads. Works with files of JAX 0.11 and 0.12.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from profiles import host_events, tpu_events
from profiles.classify import is_anchor
from profiles.errors import ProfileError
from profiles.hlo import LOCAL, METADATA_PLANE, Program, load
from profiles.planes import Contents, contents
from profiles.timeline import DeviceTimeline, HostEvents, OpType, Peaks, TypeTable
from profiles.times import base_ns
from profiles.wire import ByteSource, Malformed

_ENVIRONMENT_PLANE = "Task Environment"
_PACKAGES = ("jax", "jaxlib", "libtpu")
_MAX_NOTE = 500


@dataclass(frozen=True)
class HostProfile:
    """One host's part of a profile session: what its `.xplane.pb` says."""

    path: Path
    size_bytes: int
    platform: str  # "tpu" or "cpu"
    device_type: str  # e.g. "TPU v6 Lite"; "cpu" on XLA:CPU
    peaks: Peaks
    devices: tuple[DeviceTimeline, ...]
    op_types: tuple[OpType, ...]
    host: HostEvents
    notes: tuple[str, ...]  # errors and warnings that the profiler wrote into the file
    dropped: int  # events that the profiler says it dropped
    versions: dict[str, str]  # package -> version, as far as the file says
    programs_without_hlo: tuple[str, ...]
    programs_by_name: tuple[str, ...]  # found by name, because the profile lists them under another id


def read_profile(path: Path) -> HostProfile:
    """Read an `.xplane.pb`. Raises ProfileError with one line for whatever is wrong with the file."""
    try:
        with ByteSource(path) as source:
            return _read(path, source)
    except Malformed as error:
        raise ProfileError(f"{path}: not a complete XPlane file ({error}); profile again or copy the file again, in binary mode") from None


def _read(path: Path, source: ByteSource) -> HostProfile:
    found = contents(source)
    table = TypeTable()
    cores = [plane for plane in found.planes if tpu_events.DEVICE_PLANE.match(plane.name)]
    base = base_ns(cores)
    devices = [device for plane in cores if (device := tpu_events.read(plane, table, base)) is not None]
    host_plane, host = found.plane(host_events.HOST_PLANE), HostEvents()
    on_host: list[DeviceTimeline] = []
    if host_plane is not None:
        host, on_host = host_events.read(host_plane, table, want_ops=not cores)
    devices += on_host
    if not devices:
        planes = ", ".join(plane.name[:40] for plane in found.planes[:8]) or "none"
        raise ProfileError(
            f"{path}: no XLA ops among its planes ({planes}); profile while the engine runs, with host_tracer_level >= 1 on CPU"
        )
    programs = load(found.plane(METADATA_PLANE), _wanted(table.types), is_anchor)
    names = {kind.program_id: kind.module or str(kind.program_id) for kind in table.types}
    return HostProfile(
        path=path,
        size_bytes=source.size,
        platform="tpu" if cores else "cpu",
        device_type=str(cores[0].stats.get("device_type_string", "TPU")) if cores else "cpu",
        peaks=tpu_events.peaks(cores[0]) if cores else Peaks(),
        devices=tuple(devices),
        op_types=tuple(_completed(kind, programs.get(kind.program_id)) for kind in table.types),
        host=host,
        notes=tuple(note[:_MAX_NOTE] for note in (*found.errors, *found.warnings)),
        dropped=_dropped(found),
        versions=_versions(found),
        programs_without_hlo=tuple(sorted(f"{name}({key})" for key, name in names.items() if key not in programs)),
        programs_by_name=tuple(sorted(f"{program.module}({key})" for key, program in programs.items() if not program.exact)),
    )


def _wanted(types: list[OpType]) -> dict[int, tuple[str, frozenset[str]]]:
    wanted: dict[int, tuple[str, set[str]]] = {}
    for kind in types:
        wanted.setdefault(kind.program_id, (kind.module, set()))[1].add(kind.name)
    return {program_id: (module, frozenset(names)) for program_id, (module, names) in wanted.items()}


def _completed(kind: OpType, program: Program | None) -> OpType:
    """What the trace itself says goes first; the HLO module fills in the rest, and knows which collectives stay on their device."""
    op = program.ops.get(kind.name) if program is not None else None
    if op is None:
        return kind
    return replace(
        kind,
        scope=kind.scope or op.scope,
        context=op.context,
        hlo_category=op.hlo_category if op.hlo_category.startswith(LOCAL) else kind.hlo_category or op.hlo_category,
        container=kind.container or op.container,
        in_loop=op.in_loop,
    )


def _dropped(found: Contents) -> int:
    """Sum of the planes' stats that count dropped events (`dropped_traces` and its like)."""
    counts = (value for plane in found.planes for name, value in plane.stats.items() if "dropped" in name)
    return sum(int(value) for value in counts if isinstance(value, int | float) and 0 < value < 1 << 53)


def _versions(found: Contents) -> dict[str, str]:
    stats = {
        name: value for plane in found.planes if plane.name in {METADATA_PLANE, _ENVIRONMENT_PLANE} for name, value in plane.stats.items()
    }
    return {name: str(stats[f"{name}_version"])[:100] for name in _PACKAGES if f"{name}_version" in stats}
