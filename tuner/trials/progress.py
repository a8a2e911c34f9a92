"""How far a run is: counts, the best so far, and the time left. Shows nothing itself; a listener does (tuner.cli.progress_view)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Progress:
    """`listener` gets this object and a line worth keeping ("" for a mere tick). Estimates follow what was seen."""

    planned_trials: int = 0
    planned_windows: int = 0
    planned_starts: int = 0
    done_trials: int = 0
    failed_trials: int = 0
    windows: int = 0
    engine_starts: int = 0
    best: tuple[str, float] | None = None  # configuration, value of the first objective
    now_doing: str = ""
    window_s: float = 1.0
    start_s: float = 30.0
    listener: Callable[[Progress, str], None] | None = None
    _window_seconds: list[float] = field(default_factory=list)
    _start_seconds: list[float] = field(default_factory=list)

    def note(self, line: str = "") -> None:
        if self.listener is not None:
            self.listener(self, line)

    def doing(self, what: str) -> None:
        self.now_doing = what
        self.note()

    def engine_started(self, seconds: float) -> None:
        self._start_seconds.append(seconds)
        self.start_s = sum(self._start_seconds) / len(self._start_seconds)

    def window_measured(self, seconds: float) -> None:
        self.windows += 1
        self._window_seconds.append(seconds)
        self.window_s = sum(self._window_seconds) / len(self._window_seconds)
        self.note()

    def only(self, trials: int, windows: int) -> None:
        """So much is left, each trial in an engine of its own: better known than planned."""
        self.planned_trials = self.done_trials + trials
        self.planned_windows = self.windows + windows
        self.planned_starts = self.engine_starts + trials

    @property
    def seconds_left(self) -> float:
        """By the mean cost of what was done so far."""
        windows = max(0, self.planned_windows - self.windows)
        starts = max(0, self.planned_starts - self.engine_starts)
        return windows * self.window_s + starts * self.start_s
