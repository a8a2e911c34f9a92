"""Self time: which event an instant counts for when events nest or overlap.

In one lane (a TPU core, a CPU thread) an instant belongs to the innermost event, the one that started last. Over several lanes of one
device an instant is shared evenly by the lanes that run something, so that attributed times add up to the time in which anything ran. An
op that only contains others (a `while` around its body) gets an instant only where nothing else runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Segments(NamedTuple):
    """Pieces of time that belong to one event each: [segments]. `owner` indexes the events that were passed in."""

    start: Ints
    end: Ints
    owner: Ints


def segments(start: Ints, end: Ints) -> Segments:
    """Cut the events of one lane into pieces that do not overlap and together cover the same time. O(n log n)."""
    order = np.lexsort((-end, start))
    first, last = start[order], end[order]
    reach = np.maximum.accumulate(last) if len(last) else last
    alone = np.ones(len(order), np.bool_)  # does not overlap what came before
    alone[1:] = first[1:] >= reach[:-1]
    group = np.cumsum(alone) - 1
    simple = np.bincount(group, minlength=1)[group] == 1 if len(order) else alone
    pieces = [Segments(first[simple], last[simple], order[simple])]
    crowded = np.flatnonzero(~simple)
    if len(crowded):
        pieces.append(_nested(first[crowded].tolist(), last[crowded].tolist(), order[crowded]))
    joined = Segments(*(np.concatenate(column) for column in zip(*pieces, strict=True)))
    return Segments(*(column[joined.end > joined.start] for column in joined))


def _nested(start: list[int], end: list[int], index: Ints) -> Segments:
    """The same for events that nest, sorted by start and then longest first: a stack of what is open."""
    pieces: list[tuple[int, int, int]] = []
    open_events: list[int] = []
    now = 0

    def run_until(moment: int) -> None:
        nonlocal now
        while open_events and now < moment:
            top = open_events[-1]
            until = min(end[top], moment)
            if until > now:
                pieces.append((now, until, top))
                now = until
            if end[top] <= now:
                open_events.pop()
        now = max(now, moment)

    for position, begins in enumerate(start):
        run_until(begins)
        open_events.append(position)
    run_until(max(end))
    table = np.array(pieces, np.int64).reshape(-1, 3)
    return Segments(table[:, 0], table[:, 1], index[table[:, 2]])


def self_time(start: Ints, end: Ints) -> Ints:
    """Self time of each event of one lane, [events]."""
    cut = segments(start, end)
    total = np.zeros(len(start), np.int64)
    np.add.at(total, cut.owner, cut.end - cut.start)
    return total


def cut_at(cut: Segments, edges: Ints) -> Segments:
    """The same time, with every piece that crosses one of the sorted `edges` cut there."""
    before = np.searchsorted(edges, cut.start, side="right")
    crossings = np.searchsorted(edges, cut.end, side="left") - before
    if not crossings.any():
        return cut
    times = crossings + 1
    source = np.repeat(np.arange(len(times)), times)
    nth = np.arange(len(source)) - np.repeat(np.cumsum(times) - times, times)  # 0 for the first part of each piece
    padded = np.concatenate([edges, [0]])  # parts without an edge on that side look up the padding and ignore it
    start = np.where(nth == 0, cut.start[source], padded[np.minimum(before[source] + nth - 1, len(edges))])
    end = np.where(nth == crossings[source], cut.end[source], padded[np.minimum(before[source] + nth, len(edges))])
    return Segments(start, end, cut.owner[source])


def divide(cut: Segments, container: NDArray[np.bool_]) -> Floats:
    """Divide time among the segments of all lanes of one device: each segment's part, [segments], in the unit of its times.

    `container` [segments] marks pieces of ops that only contain others. The parts add up to the time in which at least one segment runs.
    """
    order = np.argsort(cut.start, kind="stable")
    if (cut.start[order[1:]] >= cut.end[order[:-1]]).all():  # nothing overlaps
        return (cut.end - cut.start).astype(np.float64)
    edges = np.unique(np.concatenate([cut.start, cut.end]))
    length = np.diff(edges).astype(np.float64)
    at_start, at_end = np.searchsorted(edges, cut.start), np.searchsorted(edges, cut.end)

    def running(mask: NDArray[np.bool_]) -> Ints:
        size = len(edges)
        change = np.bincount(at_start[mask], minlength=size) - np.bincount(at_end[mask], minlength=size)
        return np.cumsum(change)[:-1]

    def parts(count: Ints, allowed: NDArray[np.bool_]) -> Floats:
        rate = np.divide(length, count, out=np.zeros_like(length), where=allowed & (count > 0))
        total = np.concatenate([[0.0], np.cumsum(rate)])
        result: Floats = total[at_end] - total[at_start]
        return result

    leaves = running(~container)
    return np.where(container, parts(running(container), leaves == 0), parts(leaves, leaves > 0))
