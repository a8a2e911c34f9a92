"""At which load to measure next, and when to stop, to find the highest load at which the SLOs hold. Pure.

First a bracket, in steps that grow (2, 4, 4, ...) until one load held and a higher one did not. Then windows near the edge, by turns at
the middle of where it may lie and a little above (two quantiles of the posterior): near the edge a window says most of where the edge
is, and the second load says how steep the curve is. The end: the interval is narrow enough, the windows are spent, no load within reach
held (`NONE`), or the highest one did (`AT_LEAST`). `python -m bench.capacity_search` sets it beside a linear sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tuner.stats.edge import EdgeEstimate, Posterior, Reading, posterior

MAX_WINDOWS = 12
PRECISION = 0.05  # the search ends when the interval lies within this fraction of the edge
STEPS = (2.0, 4.0)  # of the bracket; the last is repeated
REACH = 128.0  # below the first load: where nothing holds this far down, no load does
QUANTILES = (0.5, 0.8)  # where to measure, by turns
NEAR, LEAST_NEAR = 1.25, 4  # windows within this factor of the edge before the search may end early
MARGIN = 2.0  # the edge may lie this far outside the loads that were tried: windows are noisy


class EdgeState(StrEnum):
    FOUND = "found"
    NONE = "none"  # failed at the lowest load within reach
    AT_LEAST = "at_least"  # held at the highest load that was tried
    OPEN = "open"  # not ended yet


@dataclass(frozen=True)
class EdgeWindow:
    """One window: the load, and what it says of each criterion, by name. A criterion that it says nothing of is absent."""

    load: float
    readings: Mapping[str, Reading]

    @property
    def held(self) -> bool:
        return all(reading.held for reading in self.readings.values())


@dataclass(frozen=True)
class EdgeAsk:
    """`first`: where to begin. `highest`: no load above it is tried. `whole`: loads are whole numbers (requests at once).

    Raises ValueError for what cannot be begun.
    """

    first: float
    highest: float = math.inf
    max_windows: int = MAX_WINDOWS
    precision: float = PRECISION
    whole: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.first < math.inf and self.first <= self.highest):
            raise ValueError(f"a search cannot begin at {self.first} with {self.highest} as the highest load")
        if self.max_windows < 1 or not self.precision > 0:
            raise ValueError("a search needs at least one window and a precision above 0")

    @property
    def lowest(self) -> float:
        return max(1.0, self.first / REACH) if self.whole else self.first / REACH

    def load(self, wanted: float) -> float:
        """The nearest load that may be tried."""
        inside = min(self.highest, max(self.lowest, wanted))
        return max(1.0, float(round(inside))) if self.whole else inside


class EdgeSearch:
    """Ask `next_load`, measure there, `add`; until it is None. `windows` may begin with some that were measured before."""

    def __init__(self, ask: EdgeAsk, windows: Iterable[EdgeWindow] = ()) -> None:
        self.ask = ask
        self.windows = list(windows)

    def add(self, window: EdgeWindow) -> None:
        self.windows.append(window)

    @property
    def highest_held(self) -> float | None:
        return max((window.load for window in self.windows if window.held), default=None)

    @property
    def lowest_failed(self) -> float | None:
        return min((window.load for window in self.windows if not window.held), default=None)

    def next_load(self) -> float | None:
        """Where to measure next; None at the end."""
        if len(self.windows) >= self.ask.max_windows:
            return None
        if not self.windows:
            return self.ask.load(self.ask.first)
        if self.highest_held is None or self.lowest_failed is None:
            return self._further_out()
        found = self.posterior()
        if self._is_narrow(found):
            return None
        return self.ask.load(found.quantile(QUANTILES[len(self.windows) % len(QUANTILES)]))

    def _further_out(self) -> float | None:
        """None where the end was tried twice: one window may be disturbed."""
        loads = [window.load for window in self.windows]
        factor = STEPS[min(len(loads), len(STEPS)) - 1]
        wanted = self.ask.load(max(loads) * factor if self.lowest_failed is None else min(loads) / factor)
        return None if loads.count(wanted) >= 2 else wanted

    def _is_narrow(self, found: Posterior) -> bool:
        estimate = found.estimate()
        near = sum(1 / NEAR <= window.load / estimate.edge <= NEAR for window in self.windows)
        narrow = estimate.half_width <= self.ask.precision
        if self.ask.whole:
            narrow = narrow or math.floor(estimate.low) == math.floor(estimate.high)
        return near >= LEAST_NEAR and narrow

    def posterior(self) -> Posterior:
        """Of the edge. Raises ValueError before the first window."""
        loads = [window.load for window in self.windows]
        if not loads:
            raise ValueError("an edge needs at least one window")
        names = dict.fromkeys(name for window in self.windows for name in window.readings)
        criteria = [[(window.load, window.readings[name]) for window in self.windows if name in window.readings] for name in names]
        return posterior(criteria, min(loads) / MARGIN, max(loads) * MARGIN)

    @property
    def state(self) -> EdgeState:
        if not self.windows or self.next_load() is not None:
            return EdgeState.OPEN
        if self.highest_held is None:
            return EdgeState.NONE
        return EdgeState.AT_LEAST if self.lowest_failed is None else EdgeState.FOUND

    def estimate(self) -> EdgeEstimate | None:
        """None unless some window held and some did not. Of whole loads the highest that holds: the number below the crossing."""
        if self.highest_held is None or self.lowest_failed is None:
            return None
        found = self.posterior().estimate()
        if not self.ask.whole:
            return found
        edge, low, high = (max(1.0, math.floor(load)) for load in (found.edge, found.low, found.high))
        return EdgeEstimate(edge, low, high)


def search_edge(ask: EdgeAsk, measure: Callable[[float], EdgeWindow], known: Iterable[EdgeWindow] = ()) -> EdgeSearch:
    """Measure until the end; `known` are windows that were measured before."""
    search = EdgeSearch(ask, known)
    while (load := search.next_load()) is not None:
        search.add(measure(load))
    return search
