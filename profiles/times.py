"""Converts the offsets of an XLine, which count from its own start, to times that all lines have in common."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from profiles.columns import EventColumns
from profiles.planes import LineInfo, Plane
from profiles.wire import Malformed

Ints = NDArray[np.int64]
LONGEST_PS = 10**18  # eleven days: anything longer is not a profile, and sums of it would overflow


def base_ns(planes: Iterable[Plane]) -> int:
    """The earliest line's start: times count from there, because picoseconds since the epoch do not fit into 64 bits."""
    return min((line.timestamp_ns for plane in planes for line in plane.lines), default=0)


def span(line: LineInfo, events: EventColumns, base: int) -> tuple[Ints, Ints]:
    """(start, end) of each event in picoseconds since `base` nanoseconds. Raises Malformed for times that no profile has."""
    shift = (line.timestamp_ns - base) * 1000
    return checked(events.offset_ps, events.duration_ps, shift)


def checked(offset: Ints, duration: Ints, shift: int = 0) -> tuple[Ints, Ints]:
    """(offset + shift, that + duration). Raises Malformed for times that no profile has."""
    sane = (np.abs(offset) <= LONGEST_PS) & (offset > -LONGEST_PS) & (duration >= 0) & (duration <= LONGEST_PS)
    if not 0 <= shift <= LONGEST_PS or not sane.all():
        raise Malformed("an event's time is negative or longer than eleven days")
    start = offset + shift
    return start, start + duration
