"""What the page of a study shows while its search runs: how far it is, how long it may take, which trials there are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.records import FINISHED, Trial, TrialState

if TYPE_CHECKING:
    from tuner.search.time_left import TimeLeft

MOST_ROWS = 16


@dataclass(frozen=True)
class RunningTrial:
    """`windows`: measured so far, invalid ones included."""

    trial: Trial
    windows: int


@dataclass(frozen=True)
class Running:
    """`planned`: trials of the whole search, as far as they are known. `rows`: those that are measured now, then the latest that ended;
    `hidden`: how many more trials there are. `left`: None where that cannot be told."""

    planned: int
    left: TimeLeft | None
    rows: tuple[RunningTrial, ...]
    hidden: int
    waiting: int


def running_of(trials: Sequence[Trial], measured: Mapping[int, tuple[int, float]], left: TimeLeft | None) -> Running:
    """`measured`: windows and seconds by trial."""
    now = [trial for trial in trials if trial.state is TrialState.RUNNING]
    ended = sorted((trial for trial in trials if trial.state in FINISHED), key=lambda trial: -(trial.finished_at or 0.0))
    waiting = sum(trial.state is TrialState.WAITING for trial in trials)
    shown = [*now, *ended][:MOST_ROWS]
    return Running(
        planned=max(len(trials), left.trials if left is not None else 0),
        left=left,
        rows=tuple(RunningTrial(trial, measured.get(trial.id, (0, 0.0))[0]) for trial in shown),
        hidden=len(now) + len(ended) - len(shown),
        waiting=waiting,
    )
