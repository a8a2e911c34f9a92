"""Self time and shares against counting by hand, instant by instant."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from profiles.selftime import Segments, cut_at, divide, segments, self_time

LENGTH = 40
SPANS = st.lists(st.tuples(st.integers(0, LENGTH - 1), st.integers(0, 12)), max_size=12)


def columns(spans: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    start = np.array([start for start, _ in spans], np.int64)
    return start, start + np.array([length for _, length in spans], np.int64)


@given(SPANS)
def test_every_instant_belongs_to_the_event_that_started_last(spans: list[tuple[int, int]]) -> None:
    start, end = columns(spans)
    expected = [0] * len(spans)
    order = sorted(range(len(spans)), key=lambda index: (start[index], -end[index]))
    for instant in range(LENGTH + 12):
        running = [index for index in order if start[index] <= instant < end[index]]
        if running:
            expected[running[-1]] += 1
    assert self_time(start, end).tolist() == expected


@given(SPANS)
def test_segments_cover_the_union_once(spans: list[tuple[int, int]]) -> None:
    cut = segments(*columns(spans))
    covered = [instant for begin, until in zip(cut.start, cut.end, strict=True) for instant in range(begin, until)]
    assert sorted(covered) == sorted({instant for begin, length in spans for instant in range(begin, begin + length)})


def test_a_loop_has_only_the_time_that_its_body_leaves() -> None:
    start, end = columns([(0, 10), (1, 3), (5, 2), (12, 1)])
    assert self_time(start, end).tolist() == [5, 3, 2, 1]


@given(SPANS, st.sets(st.integers(0, LENGTH + 15), max_size=6))
def test_cutting_at_edges_keeps_all_time_and_crosses_none(spans: list[tuple[int, int]], at: set[int]) -> None:
    edges = np.array(sorted(at), np.int64)
    before = segments(*columns(spans))
    after = cut_at(before, edges)
    assert (after.end > after.start).all()
    for edge in sorted(at):
        assert not ((after.start < edge) & (edge < after.end)).any()
    for owner in range(len(spans)):
        lengths = [int((cut.end - cut.start)[cut.owner == owner].sum()) for cut in (before, after)]
        assert lengths[0] == lengths[1]


@given(SPANS, st.data())
def test_parts_are_even_and_add_up_to_the_busy_time(spans: list[tuple[int, int]], data: st.DataObject) -> None:
    start, end = columns(spans)
    container = np.array([data.draw(st.booleans()) for _ in spans], np.bool_)
    found = divide(Segments(start, end, np.arange(len(spans))), container)
    expected = np.zeros(len(spans))
    for instant in range(LENGTH + 12):
        running = [index for index in range(len(spans)) if start[index] <= instant < end[index]]
        leaves = [index for index in running if not container[index]] or running
        for index in leaves:
            expected[index] += 1 / len(leaves)
    np.testing.assert_allclose(found, expected, atol=1e-9)
