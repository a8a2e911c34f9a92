"""Make a large profile out of a real one: its events again and again, later and later. The metadata stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.oracles.xspace import XSpace

DEVICE_OFFSET = "device_offset_ps"


def repeat_events(source: Path, target: Path, times: int) -> int:
    """Write `source` with every event `times` times; each copy follows the one before by the length of the profile. Returns bytes
    written.
    """
    space = XSpace.FromString(source.read_bytes())
    length_ps = _length_ps(space)
    for plane in space.planes:
        offset_ids = {entry.key for entry in plane.stat_metadata if entry.value.name == DEVICE_OFFSET}
        for line in plane.lines:
            originals = list(line.events)
            line.ClearField("events")
            for copy in range(times):
                line.events.extend(originals)
                for event in line.events[len(originals) * copy :]:
                    _move(event, copy * length_ps, offset_ids)
    data: bytes = space.SerializeToString()
    target.write_bytes(data)
    return len(data)


def _move(event: Any, by_ps: int, offset_ids: set[int]) -> None:
    event.offset_ps += by_ps
    for stat in event.stats:
        if stat.metadata_id in offset_ids:
            stat.uint64_value += by_ps


def _length_ps(space: Any) -> int:
    """From the first start to the last end, on whichever clock is later, and one second more."""
    ends = [event.offset_ps + event.duration_ps for plane in space.planes for line in plane.lines for event in line.events]
    return max(ends, default=0) + 10**12
