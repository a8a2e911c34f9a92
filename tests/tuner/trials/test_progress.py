"""Progress: the time left follows what was seen."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.tuner.workbench import Workbench
from tuner.trials.budget import CostModel
from tuner.trials.progress import Progress


def test_the_time_left_is_what_is_planned_and_not_done_at_what_it_costs() -> None:
    progress = Progress(planned_windows=10, planned_starts=2, costs=CostModel(start_s=20.0, window_s=2.0))
    assert progress.seconds_left == 10 * 2 + 2 * 20
    progress.engine_starts += 1
    for _ in range(3):
        progress.window_measured()
    assert progress.seconds_left == 7 * 2 + 1 * 20


def test_more_than_planned_leaves_nothing() -> None:
    progress = Progress(planned_windows=1)
    for _ in range(3):
        progress.window_measured()
    assert progress.seconds_left == 0


@pytest.mark.slow
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
