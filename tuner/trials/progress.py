"""How far a run is: counts, the best so far, and the time left. Shows nothing itself; a listener does (tuner.cli.progress_view)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tuner.trials.budget import CostModel


@dataclass
class Progress:
    """`listener` gets this object and a line worth keeping ("" for a mere tick). `costs` says what is left in seconds."""

    planned_trials: int = 0
    planned_windows: int = 0
    planned_starts: int = 0
    done_trials: int = 0
    failed_trials: int = 0
    windows: int = 0
    engine_starts: int = 0
    best: tuple[str, float] | None = None  # configuration, value of the first objective
    now_doing: str = ""
    costs: CostModel = field(default_factory=CostModel)
    listener: Callable[[Progress, str], None] | None = None

    def note(self, line: str = "") -> None:
        if self.listener is not None:
            self.listener(self, line)

    def doing(self, what: str) -> None:
        self.now_doing = what
        self.note()

    def window_measured(self) -> None:
        self.windows += 1
        self.note()

    def only(self, trials: int, windows: int) -> None:
        """So much is left, each trial in an engine of its own: better known than planned."""
        self.planned_trials = self.done_trials + trials
        self.planned_windows = self.windows + windows
        self.planned_starts = self.engine_starts + trials

    @property
    def seconds_left(self) -> float:
        """What is planned and not done yet, by the mean cost of what was done so far."""
        return self.costs.seconds(starts=self.planned_starts - self.engine_starts, windows=self.planned_windows - self.windows)
