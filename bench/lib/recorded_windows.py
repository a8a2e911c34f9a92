"""Windows of the real engine, measured in interleaved rounds over all engines at once, and the file that keeps them with every step and
token.

Every page size needs an engine of its own. All of them are started first and stay; one measures at a time. So each round visits every
configuration, in random order, and what drifts with the hours of a shared machine falls on all of them alike.
"""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from bench.lib.real_engine import START_TIMEOUT_S, clean_window, device_line, engine_settings, launcher, load_plan, say, warm_up
from tuner.core.contract import ARMS, EngineSettings, LiveSettings, LoadPlan, WindowResult
from tuner.engine.wire_fields import from_fields, to_fields
from tuner.launchers.local import LocalSession
from tuner.trials.rounds import round_order

Json = dict[str, Any]
_DIGITS = 6  # of seconds: a microsecond


@dataclass(frozen=True, order=True)
class Place:
    """One configuration under one workload (as --workload takes it)."""

    page: int
    budget: int
    seqs: int  # running requests at most
    arm: str
    workload: str

    @property
    def cell(self) -> tuple[int, int, int]:
        return self.page, self.budget, self.seqs

    @property
    def live(self) -> LiveSettings:
        return LiveSettings(self.arm, self.budget, self.seqs)


@dataclass(frozen=True)
class Recorded:
    place: Place
    round: int
    window: WindowResult


@dataclass(frozen=True)
class Grid:
    """What is measured. `device`: in words, with the versions."""

    pages: tuple[int, ...]
    budgets: tuple[int, ...]
    seqs: tuple[int, ...]
    workloads: tuple[str, ...]
    device: str = ""

    def settings(self, page: int) -> EngineSettings:
        """Of the engine whose live budgets are all of `budgets`, and its running requests all of `seqs`."""
        return engine_settings(page, max(self.budgets), max_num_seqs=max(self.seqs))

    def plans(self) -> dict[str, LoadPlan]:
        return {workload: load_plan(workload, self.settings(self.pages[0])) for workload in self.workloads}

    def places(self, workload: str) -> list[Place]:
        cells = itertools.product(self.pages, self.budgets, self.seqs, ARMS)
        return [Place(page, budget, seqs, arm, workload) for page, budget, seqs, arm in cells if budget >= page]


def record(grid: Grid, file: Path, *, rounds: int, most_s: float) -> None:
    """Measure `rounds` rounds, or as many as begin within `most_s`, and write each window to `file` when it is known."""
    plans = grid.plans()
    with launcher() as opened, gzip.open(file, "xt", encoding="utf-8") as out:
        sessions = {}
        for page in grid.pages:
            say(f"page size {page}: starting the engine")
            sessions[page] = opened.open(grid.settings(page), START_TIMEOUT_S)
        _write(out, to_fields(replace(grid, device=device_line())))
        for page, session in sessions.items():
            say(f"page size {page}: compiling")
            _compile(session, grid, plans)
        begun = time.monotonic()
        for number in range(rounds):
            if time.monotonic() - begun > most_s:
                break
            say(f"round {number + 1} of {rounds}, {time.monotonic() - begun:.0f} s")
            for place in _order(grid, number):
                window = clean_window(sessions[place.page], place.live, plans[place.workload])
                _write(out, {"place": to_fields(place), "round": number, "window": to_fields(_short(window))})
            out.flush()


def read(file: Path) -> tuple[Grid, list[Recorded]]:
    """Raises OSError, and ValueError or KeyError for another file."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        grid = from_fields(Grid, json.loads(next(lines)))
        return grid, [_read(json.loads(line)) for line in lines]


def _read(raw: Json) -> Recorded:
    return Recorded(from_fields(Place, raw["place"]), int(raw["round"]), from_fields(WindowResult, raw["window"]))


def _compile(session: LocalSession, grid: Grid, plans: dict[str, LoadPlan]) -> None:
    """Every program: the padded sizes of the largest and the smallest budget, in both arms. What is left is compiled in a window that does
    not count."""
    for plan in plans.values():
        for budget in {min(grid.budgets), max(grid.budgets)}:
            for arm in ARMS:
                warm_up(session, LiveSettings(arm, budget), plan)


def _order(grid: Grid, number: int) -> Iterator[Place]:
    cells: dict[str, list[Place]] = {}
    for workload in grid.workloads:
        for place in grid.places(workload):
            cells.setdefault(f"{place.cell} {workload}", []).append(place)
    yield from round_order(cells, "record", number)


def _write(out: TextIO, line: Json) -> None:
    out.write(json.dumps(_short(line)) + "\n")


def _short(value: Any) -> Any:
    """Times to a microsecond, so that the file stays small."""
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
