"""The finite set of configurations that a search chooses from, as arrays. Pure but for Optuna's distributions.

Every parameter has a few *levels*; a configuration is one level of each. Numbers are ordered by value and placed by rank: neighbouring page
sizes are equally far apart, whether the list is 16, 32, 64 or 1, 10, 60000, and no unit or scale has to be known. Words have no order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.core.errors import BadInput

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]
Row = tuple[int, ...]
"""One level of each axis."""

MAX_LOOKED_AT = 10_000_000  # combinations that are asked whether they can run, at most, before the search begins
_CHUNK = 4096


@dataclass(frozen=True)
class Axis:
    """One parameter. `distances` [levels x levels]: difference in rank over the greatest one; for words 0 or 1."""

    name: str
    values: tuple[Any, ...]
    distances: Array


class Space:
    """The axes, in the order of their names, and which combinations of their levels can run. Rows are [n x axes]."""

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        contains: Callable[[dict[str, Any]], bool] | None = None,
        configurations: Iterable[Mapping[str, Any]] | None = None,
    ) -> None:
        """Only what `contains` can run, and where they are given only these `configurations`. Raises BadInput for a parameter without
        finitely many values."""
        self.axes = tuple(_axis(name, distributions[name]) for name in sorted(distributions))
        if not self.axes:
            raise BadInput("the search space has no parameter; give at least one with its values")
        self.counts = tuple(len(axis.values) for axis in self.axes)
        self._level_of = [{_key(value): level for level, value in enumerate(axis.values)} for axis in self.axes]
        self._contains = contains
        self._listed: dict[Row, None] | None = None
        if configurations is not None:
            self._listed = dict.fromkeys(row for params in configurations if (row := self.row(params)) is not None)

    def row(self, params: Mapping[str, Any]) -> Row | None:
        """The levels of these parameters (others are ignored), or None where one is missing or has another value."""
        levels = tuple(
            known.get(_key(params[axis.name]), -1) if axis.name in params else -1
            for axis, known in zip(self.axes, self._level_of, strict=True)
        )
        return None if min(levels) < 0 else levels

    def find(self, params: Mapping[str, Any]) -> Row | None:
        """The levels of a configuration that can run, else None."""
        row = self.row(params)
        return row if row is not None and self._runs(row) else None

    def rows(self, rows: Sequence[Row]) -> Indices:
        """[n x axes]"""
        return np.array(rows, dtype=np.intp).reshape(-1, len(self.axes))

    def params(self, row: Iterable[int]) -> dict[str, Any]:
        return {axis.name: axis.values[level] for axis, level in zip(self.axes, row, strict=True)}

    def fixed_levels(self, fixed: Mapping[str, Any]) -> dict[int, int]:
        """Axis -> level of each fixed parameter that is one of ours; -1 for a value that the axis does not have."""
        return {
            position: self._level_of[position].get(_key(fixed[axis.name]), -1)
            for position, axis in enumerate(self.axes)
            if axis.name in fixed
        }

    def can_run(self, rows: Indices) -> Mask:
        """[n]"""
        if self._listed is None and self._contains is None:
            return np.ones(len(rows), dtype=bool)
        return np.array([self._runs(tuple(row)) for row in rows.tolist()], dtype=bool)

    def _runs(self, row: Row) -> bool:
        if self._listed is not None and row not in self._listed:
            return False
        return self._contains is None or bool(self._contains(self.params(row)))

    def first(self, limit: int, seed: int) -> tuple[Indices, bool]:
        """(Up to `limit` rows that can run, no two alike, and whether these are all that there are).

        All come in the order of their levels; fewer than all are the first of a random order. Raises BadInput if none can run.
        """
        found: dict[Row, None] = {}
        looked_at, every = 0, self._listed is not None or math.prod(self.counts) <= MAX_LOOKED_AT
        for rows in self._in_random_order(seed):
            looked_at += len(rows)
            found.update(dict.fromkeys(map(tuple, rows[self.can_run(rows)].tolist())))
            if len(found) > limit or looked_at >= MAX_LOOKED_AT:
                every = every and len(found) <= limit and looked_at >= self._size
                break
        if not found:
            sought = "" if every else f" among {looked_at:,} drawn at random"
            raise BadInput(f"the search space has no configuration that can run{sought}; widen the parameters, or loosen what is required")
        kept = self.rows(list(found)[:limit])
        return (np.unique(kept, axis=0) if every else kept), every

    def among(self, fixed: Mapping[int, int], count: int, rng: np.random.Generator) -> Indices:
        """`count` random rows with these levels of these axes, whether they can run or not; repeats are possible."""
        rows = np.stack([rng.integers(levels, size=count) for levels in self.counts], axis=1).astype(np.intp)
        for position, level in fixed.items():
            rows[:, position] = level
        return rows

    @property
    def _size(self) -> int:
        return math.prod(self.counts) if self._listed is None else len(self._listed)

    def _in_random_order(self, seed: int) -> Iterator[Indices]:
        """Each combination (listed one) once, in chunks; of more than MAX_LOOKED_AT combinations random ones, for ever."""
        rng = np.random.default_rng([seed, self._size % 2**32])
        if self._listed is not None:
            rows = self.rows(list(self._listed))
            rows = rng.permutation(rows[np.lexsort(rows.T[::-1])])
            yield from (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))
        elif self._size <= MAX_LOOKED_AT:
            stride, offset = _coprime(self._size, rng), int(rng.integers(self._size))
            for start in range(0, self._size, _CHUNK):
                steps = np.arange(start, min(start + _CHUNK, self._size), dtype=np.int64)
                places = (steps * stride + offset) % self._size  # below 10^14: no overflow
                yield np.stack(np.unravel_index(places, self.counts), axis=1).astype(np.intp)
        else:
            while True:
                yield self.among({}, _CHUNK, rng)


class CandidateGrid:
    """`levels` [candidates x axes] of the candidates of a space."""

    def __init__(self, space: Space, levels: Indices) -> None:
        self.space = space
        self.axes = space.axes
        self.levels = levels
        self._index = {tuple(row): position for position, row in enumerate(levels.tolist())}

    def __len__(self) -> int:
        return len(self.levels)

    def params(self, candidate: int) -> dict[str, Any]:
        return self.space.params(self.levels[candidate])

    def find(self, params: Mapping[str, Any]) -> int | None:
        """The candidate with these parameters (others are ignored), or None where it is not in the grid."""
        row = self.space.row(params)
        return None if row is None else self._index.get(row)

    def without(self, rows: Indices) -> Mask:
        """[candidates]: is none of these [n x axes]."""
        mask = np.ones(len(self), dtype=bool)
        mask[[position for row in rows.tolist() if (position := self._index.get(tuple(row))) is not None]] = False
        return mask

    def matching(self, fixed: Mapping[str, Any]) -> Mask:
        """[candidates]: has all the values in `fixed`; names that are no parameter are ignored."""
        mask = np.ones(len(self), dtype=bool)
        for position, level in self.space.fixed_levels(fixed).items():
            mask &= self.levels[:, position] == level
        return mask

    def alike(self, names: Sequence[str] | None) -> tuple[Indices, Indices]:
        """(one candidate of each combination of these parameters' levels, [candidates]: which of those each is like). None: of all."""
        kept = [position for position, axis in enumerate(self.axes) if names is None or axis.name in names]
        _, first, like = np.unique(self.levels[:, kept], axis=0, return_index=True, return_inverse=True)
        return first, like.reshape(-1)


def _axis(name: str, distribution: BaseDistribution) -> Axis:
    values = _values(name, distribution)
    count = len(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        values = tuple(sorted(values))
        ranks = np.arange(count, dtype=float)
        distances = np.abs(ranks[:, None] - ranks[None, :]) / max(1, count - 1)
    else:
        values = tuple(sorted(values, key=_key))
        distances = 1.0 - np.eye(count)
    return Axis(name, values, distances)


def _values(name: str, distribution: BaseDistribution) -> tuple[Any, ...]:
    match distribution:
        case CategoricalDistribution():
            return tuple(distribution.choices)
        case IntDistribution(low=low, high=high, step=step):
            return tuple(range(low, high + 1, step))
        case FloatDistribution(low=low, high=high, step=float(step)):
            return tuple(low + step * number for number in range(math.floor((high - low) / step + 1e-9) + 1))
    raise BadInput(f"parameter {name!r} has no finite list of values; give it choices or a step")


def _key(value: Any) -> tuple[str, Any]:
    """Hashable and sortable across types: 1 and 1.0 are one level, True and 1 are two."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__, str(value)
    return "", float(value)


def _coprime(size: int, rng: np.random.Generator) -> int:
    """A random stride that meets every number below `size` once before it comes back."""
    while math.gcd(stride := int(rng.integers(size // 3, size)) + 1 if size > 3 else 1, size) > 1:
        pass
    return stride
