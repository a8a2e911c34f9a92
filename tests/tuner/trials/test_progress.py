"""Progress: the time left follows what was seen."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.tuner.workbench import Workbench
from tuner.trials.progress import Progress


def test_the_time_left_begins_with_the_plan_and_follows_the_means() -> None:
    progress = Progress(planned_windows=10, planned_starts=2, window_s=2.0, start_s=20.0)
    assert progress.seconds_left == 10 * 2 + 2 * 20
    progress.engine_starts += 1
    progress.engine_started(8.0)
    for seconds in (1.0, 3.0, 5.0):
        progress.window_measured(seconds)
    assert progress.seconds_left == pytest.approx(7 * 3 + 1 * 8)


def test_more_than_planned_leaves_nothing() -> None:
    progress = Progress(planned_windows=1)
    for _ in range(3):
        progress.window_measured(1.0)
    assert progress.seconds_left == 0


def test_a_run_ends_where_it_was_planned_to(bench: Workbench) -> None:
    seen: list[tuple[int, int, int, float]] = []
    last: list[Progress] = []

    def listen(progress: Progress, _line: str) -> None:
        seen.append((progress.done_trials, progress.windows, progress.engine_starts, progress.seconds_left))
        last[:] = [progress]

    bench.run(listener=listen)
    (progress,) = last
    assert (progress.done_trials, progress.windows, progress.engine_starts) == (10, 30, 4)
    assert (progress.planned_trials, progress.planned_windows, progress.planned_starts) == (10, 30, 4)
    assert progress.best is not None and progress.best[0] == "page_aligned p32 b256"
    assert all(now >= before for first, second in pairwise(seen) for before, now in zip(first[:3], second[:3], strict=True))
