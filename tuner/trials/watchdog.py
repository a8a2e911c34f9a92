"""When an engine that does not answer counts as hung: long before the time that the slowest window may take. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tuner.core.errors import FailureClass, TrialFailed
from tuner.core.numbers import number

FACTOR = 20.0
FLOOR_S = 60.0
FEWEST = 3  # windows, before which nothing is usual


class Watchdog:
    """Of one engine start: `factor` times the longest of its windows so far, at least FLOOR_S and at most `limit_s`. A factor of 0:
    `limit_s` always."""

    def __init__(self, factor: float, limit_s: float) -> None:
        self._factor = factor
        self._limit_s = limit_s
        self._windows = 0
        self._longest_s = 0.0

    def measured(self, seconds: float) -> None:
        """A window took so long, with everything around it."""
        self._windows += 1
        self._longest_s = max(self._longest_s, seconds)

    @property
    def patience_s(self) -> float:
        """How long to wait for the next window."""
        if self._factor == 0 or self._windows < FEWEST:
            return self._limit_s
        return min(self._limit_s, max(FLOOR_S, self._factor * self._longest_s))

    @property
    def reason(self) -> str | None:
        """Why the next window is given up before `limit_s`; None where it is not."""
        if self.patience_s == self._limit_s:
            return None
        usual = f"the longest of its {self._windows} windows took {number(self._longest_s, 3)} s"
        return f"it counts as hung after {number(self.patience_s, 3)} s: {usual}"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """A time-out inside says why it came so early. Raises TrialFailed, EngineLost."""
        try:
            yield
        except TrialFailed as error:
            if error.failure is not FailureClass.TIMEOUT or self.reason is None:
                raise
            raise type(error)(error.failure, f"{error}; {self.reason}", error.log_excerpt) from error
