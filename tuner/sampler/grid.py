"""The finite set of configurations that a search chooses from, as arrays. Pure but for Optuna's distributions.

Every parameter has a few *levels*; a candidate is one level of each. Numbers are ordered by value and placed by rank: neighbouring page
sizes are equally far apart, whether the list is 16, 32, 64 or 1, 10, 60000, and no unit or scale has to be known. Words have no order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.core.errors import BadInput

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

MAX_CANDIDATES = 20_000  # above this a random part of the grid stands for the whole: a choice has to stay well under a second


@dataclass(frozen=True)
class Axis:
    """One parameter. `distances` [levels x levels]: difference in rank over the greatest one; for words 0 or 1."""

    name: str
    values: tuple[Any, ...]
    distances: Array


class CandidateGrid:
    """`levels` [candidates x axes]: which level of each axis a candidate has."""

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], contains: Callable[[dict[str, Any]], bool] | None = None, seed: int = 0
    ) -> None:
        """`contains` leaves out what cannot be run. Raises BadInput for a parameter without finitely many values, or if nothing is left."""
        self.axes = tuple(_axis(name, distributions[name]) for name in sorted(distributions))
        if not self.axes:
            raise BadInput("the search space has no parameter; give at least one with its values")
        rows = _all_levels([len(axis.values) for axis in self.axes], seed)
        if contains is not None:
            kept = [bool(contains(self._params(row))) for row in rows]
            rows = rows[np.array(kept, dtype=bool)]
        if not len(rows):
            raise BadInput("the search space has no configuration that can run; widen the parameters")
        self.levels: Indices = rows
        self._index = {tuple(row): position for position, row in enumerate(rows.tolist())}
        self._level_of = [{_key(value): level for level, value in enumerate(axis.values)} for axis in self.axes]

    def __len__(self) -> int:
        return len(self.levels)

    def params(self, candidate: int) -> dict[str, Any]:
        return self._params(self.levels[candidate])

    def find(self, params: Mapping[str, Any]) -> int | None:
        """The candidate with these parameters (others are ignored), or None where it is not in the grid."""
        levels = []
        for axis, known in zip(self.axes, self._level_of, strict=True):
            level = known.get(_key(params[axis.name])) if axis.name in params else None
            if level is None:
                return None
            levels.append(level)
        return self._index.get(tuple(levels))

    def matching(self, fixed: Mapping[str, Any]) -> Mask:
        """[candidates]: has all the values in `fixed`; names that are no parameter are ignored."""
        mask = np.ones(len(self), dtype=bool)
        for position, (axis, known) in enumerate(zip(self.axes, self._level_of, strict=True)):
            if axis.name in fixed:
                mask &= self.levels[:, position] == known.get(_key(fixed[axis.name]), -1)
        return mask

    def alike(self, names: Sequence[str] | None) -> tuple[Indices, Indices]:
        """(one candidate of each combination of these parameters' levels, [candidates]: which of those each is like). None: of all."""
        kept = [position for position, axis in enumerate(self.axes) if names is None or axis.name in names]
        _, first, like = np.unique(self.levels[:, kept], axis=0, return_index=True, return_inverse=True)
        return first, like.reshape(-1)

    def _params(self, row: Indices) -> dict[str, Any]:
        return {axis.name: axis.values[level] for axis, level in zip(self.axes, row, strict=True)}


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


def _all_levels(counts: Sequence[int], seed: int) -> Indices:
    total = math.prod(counts)
    if total <= MAX_CANDIDATES:
        return np.stack(np.unravel_index(np.arange(total), counts), axis=1).astype(np.intp)
    rng = np.random.default_rng([seed, total % 2**32])
    drawn = np.stack([rng.integers(count, size=MAX_CANDIDATES) for count in counts], axis=1)
    return np.unique(drawn, axis=0).astype(np.intp)
