"""What a run may spend, what it has spent and what the next things will cost, all in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean

PHASES = ("start", "warm_up", "measure", "profile")


@dataclass
class CostClock:
    """Seconds of wall time by phase. `earlier` is what former runs of the study spent. One monotonic clock."""

    earlier: Mapping[str, float] = field(default_factory=dict)
    now: Callable[[], float] = time.monotonic
    _spent: dict[str, float] = field(default_factory=dict)
    _begun: float = 0.0

    def __post_init__(self) -> None:
        self._begun = self.now()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time spent inside counts as `name`, also when it ends with an exception."""
        begun = self.now()
        try:
            yield
        finally:
            self._spent[name] = self._spent.get(name, 0.0) + self.now() - begun

    @property
    def elapsed_s(self) -> float:
        """Of this run alone."""
        return self.now() - self._begun

    def spent_s(self, name: str) -> float:
        """Of this run alone."""
        return self._spent.get(name, 0.0)

    def totals(self) -> dict[str, float]:
        """Phase -> seconds over all runs; "other" is what no phase accounts for, "wall" is everything."""
        wall = self.elapsed_s
        spent = {name: self._spent.get(name, 0.0) for name in PHASES}
        now = {**spent, "other": max(0.0, wall - sum(spent.values())), "wall": wall}
        return {name: round(seconds + float(self.earlier.get(name, 0.0)), 6) for name, seconds in now.items()}


@dataclass
class CostModel:
    """Seconds that an engine start and a window take: an estimate at first, then the mean of what this run has seen."""

    start_s: float = 30.0
    window_s: float = 1.0
    _starts: list[float] = field(default_factory=list)
    _windows: list[float] = field(default_factory=list)

    def engine_started(self, seconds: float) -> None:
        self._starts.append(seconds)
        self.start_s = fmean(self._starts)

    def window_measured(self, seconds: float) -> None:
        self._windows.append(seconds)
        self.window_s = fmean(self._windows)

    def seconds(self, *, starts: int, windows: int) -> float:
        """What so many engine starts and windows will take; negative counts cost nothing."""
        return max(0, starts) * self.start_s + max(0, windows) * self.window_s


@dataclass
class TimeBudget:
    """`limit_s` None: no limit. `reserve_s` is kept back for the finalists, so that the study ends near its budget, not beyond it.

    `spent`: nothing more is begun for the search; `over`: nothing at all, also no finalist. What has begun is finished.
    """

    clock: CostClock
    limit_s: float | None
    reserve_s: float = 0.0

    def search_left_s(self) -> float | None:
        """Seconds left for the search (never negative), None without a limit."""
        return None if self.limit_s is None else max(0.0, self.limit_s - self.reserve_s - self.clock.elapsed_s)

    @property
    def spent(self) -> bool:
        return self.search_left_s() == 0.0

    @property
    def over(self) -> bool:
        return self.limit_s is not None and self.clock.elapsed_s >= self.limit_s
