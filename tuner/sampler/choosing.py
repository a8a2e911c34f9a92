"""Which configuration to measure next: of all that can run where they are few, else of some that are made anew for every choice.

Where there are many, the candidates are those that differ from the best known results in one level, some that differ in more, random ones
that were drawn before the search began, and fresh ones from the whole space; from the most promising of them a few steps lead to
neighbours that promise more (as in Hutter, Hoos and Leyton-Brown, "Sequential model-based optimization for general algorithm
configuration", 2011). Every configuration can be met, and none that was tried is offered again while there are others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tuner.sampler.grid import Array, CandidateGrid, Indices, Mask, Row, Space
from tuner.sampler.search import History, Model

LogCost = Callable[[CandidateGrid], Array]
"""[candidates]: log seconds of a measurement."""

MAX_CANDIDATES = 10_000  # up to so many configurations all are scored at every choice, which stays well under a second
_BEST = 6  # results whose surroundings are looked at
_FARTHER = 200  # random rows near them
_RESERVE, _FRESH = 300, 200
_STEPS, _STARTS = 4, 4  # of the walk to more promising neighbours
_SAME = 1e-9


@dataclass(frozen=True)
class Question:
    """`tried` [t x axes]: what any trial has. `fixed`: parameters that the choice must have. `rng` is fresh for every choice."""

    history: History
    tried: Indices
    fixed: Mapping[str, Any]
    rng: np.random.Generator
    log_cost: LogCost | None = None


class Chooser(Protocol):
    def choose(self, question: Question) -> Indices:
        """[axes]: the row to measure next."""


def chooser(space: Space, model: Model, seed: int) -> Chooser:
    """Raises BadInput where nothing can run."""
    rows, all_of_them = space.first(MAX_CANDIDATES, seed)
    return FewCandidates(CandidateGrid(space, rows), model) if all_of_them else ManyCandidates(space, model, rows)


@dataclass
class FewCandidates:
    """Every configuration that can run is scored."""

    grid: CandidateGrid
    model: Model

    def choose(self, question: Question) -> Indices:
        open_to = self._open_to(question.tried, question.fixed)
        if not self.model.can_learn(question.history):
            return _row(self.grid.levels, int(question.rng.choice(np.flatnonzero(open_to))))
        gain = self.model.promise_of(question.history, self.grid.levels)
        if question.log_cost is not None:
            gain = gain - question.log_cost(self.grid)
        return _row(self.grid.levels, _best(gain, np.flatnonzero(open_to), question.rng))

    def _open_to(self, tried: Indices, fixed: Mapping[str, Any]) -> Mask:
        """[candidates]: not tried and with the fixed values; the nearest thing to it that is not empty."""
        new, fits = self.grid.without(tried), self.grid.matching(fixed)
        everything = np.ones(len(self.grid), dtype=bool)
        return next(mask for mask in (fits & new, fits, new, everything) if mask.any())


@dataclass
class ManyCandidates:
    """`reserve` [n x axes]: rows that can run, so that there always are some, however rare they are."""

    space: Space
    model: Model
    reserve: Indices

    def choose(self, question: Question) -> Indices:
        """Fixed values that nothing new can run with are passed over."""
        tried = set(map(tuple, question.tried.tolist()))
        fixed = self.space.fixed_levels(question.fixed)
        rows = self._pool(question, fixed, tried)
        if not len(rows) and fixed:
            fixed = {}
            rows = self._pool(question, fixed, tried)
        if not len(rows):
            return _row(self.reserve, int(question.rng.integers(len(self.reserve))))
        if not self.model.can_learn(question.history):
            return _row(rows, int(question.rng.integers(len(rows))))
        promise = self.model.promise(question.history)

        def gain_of(levels: Indices) -> Array:
            gain = promise.of(levels)
            return gain if question.log_cost is None else gain - question.log_cost(CandidateGrid(self.space, levels))

        gain = gain_of(rows)
        for _ in range(_STEPS):
            starts = rows[np.argsort(-gain, kind="stable")[:_STARTS]]
            tried.update(map(tuple, rows.tolist()))
            steps = self._fit(self._neighbours(starts), fixed, tried)
            if not len(steps):
                break
            further = gain_of(steps)
            better = further.max() > gain.max()
            rows, gain = np.concatenate([rows, steps]), np.concatenate([gain, further])
            if not better:
                break
        return _row(rows, _best(gain, np.arange(len(rows)), question.rng))

    def _pool(self, question: Question, fixed: Mapping[int, int], tried: set[Row]) -> Indices:
        """Rows that can run, are new and have the fixed levels; sorted, so that their order says nothing."""
        own, rng = question.history.own, question.rng
        reserve = self.reserve[rng.choice(len(self.reserve), min(_RESERVE, len(self.reserve)), replace=False)]
        parts = [reserve, self.space.among(fixed, _FRESH, rng)]
        results = [results for results in (*question.history.earlier, own) if len(results)]
        for known in results:
            best = known.levels[np.argsort(-known.scores(), kind="stable")[:_BEST]]
            parts += [self._neighbours(best), self._farther(best, rng)]
        rows = self._fit(np.concatenate(parts), fixed, tried)
        return rows if len(rows) else self._fit(self.reserve, fixed, tried)

    def _fit(self, rows: Indices, fixed: Mapping[int, int], met: set[Row]) -> Indices:
        """Those that have the fixed levels, can run and were not met."""
        for position, level in fixed.items():
            rows = rows[rows[:, position] == level]
        rows = np.unique(rows, axis=0)
        new = [tuple(row) not in met for row in rows.tolist()]
        rows = rows[np.array(new, dtype=bool)]
        return rows[self.space.can_run(rows)]

    def _neighbours(self, rows: Indices) -> Indices:
        """All that differ from one of the rows in one level; of an axis of many levels the next ones and some further on."""
        found = [rows]
        for position, count in enumerate(self.space.counts):
            for offset in _offsets(count):
                moved = rows.copy()
                moved[:, position] += offset
                found.append(moved[(moved[:, position] >= 0) & (moved[:, position] < count)])
        return np.concatenate(found)

    def _farther(self, rows: Indices, rng: np.random.Generator) -> Indices:
        """Random rows that differ from one of these in two or three levels, about."""
        moved = rows[rng.integers(len(rows), size=_FARTHER)]
        other = self.space.among({}, _FARTHER, rng)
        return np.where(rng.random(moved.shape) < 2.5 / len(self.space.counts), other, moved)


def _offsets(count: int) -> list[int]:
    """All steps to another level where these are few, else growing ones."""
    steps = list(range(1, count)) if count <= 12 else sorted({1, 2, 3, *(2**power for power in range(2, count.bit_length()))})
    return [sign * step for step in steps for sign in (-1, 1)]


def _best(gain: Array, options: Indices, rng: np.random.Generator) -> int:
    """One of the best options at random."""
    top = options[gain[options] >= gain[options].max() - _SAME]
    return int(rng.choice(top))


def _row(levels: Indices, place: int) -> Indices:
    row: Indices = levels[place]
    return row
