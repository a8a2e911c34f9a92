"""What is believed about configurations after some results. Pure linear algebra; a result is added without starting again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.sampler.grid import Array, Axis, Indices
from tuner.sampler.kernel import Correlation, Hyperparameters


@dataclass(frozen=True)
class Belief:
    """[candidates] each, in scores: expectation and standard deviation of the true score, without the noise of a measurement."""

    mean: Array
    deviation: Array


@dataclass(frozen=True)
class Explained:
    """The scores under a posterior: their constant mean, what is left of them [n] (whitened), its variance, and `expected` [n], the
    expectation of the true score of what each observation measured."""

    level: float
    residual: Array
    variance: float
    expected: Array


class Posterior:
    """A Gaussian process with constant mean: the Cholesky factor L of the observations' covariance [n x n] and its inverse.

    There is room for some more rows from the start, so that adding an observation copies nothing.
    """

    def __init__(self, axes: Sequence[Axis], hyper: Hyperparameters, observed: Indices, earlier: Array) -> None:
        """`observed` [n x axes]: levels, repeats allowed; `earlier` [n]: 1 for results of earlier studies, else 0."""
        self._hyper = hyper
        self._correlation = Correlation(axes, hyper)
        self._observed = observed
        self._noise = np.where(earlier > 0, hyper.earlier_noise, hyper.noise)
        self._factor = np.linalg.cholesky(self.alike(observed, observed) + np.diag(self._noise))
        self._inverse = np.linalg.inv(self._factor)
        self.begun_with = len(observed)

    def __len__(self) -> int:
        return len(self._observed)

    @property
    def observed(self) -> Indices:
        """[n x axes]"""
        return self._observed

    def observe(self, row: Indices) -> None:
        """One more measurement, of this study; `row` [axes]."""
        size = len(self)
        self._make_room(size + 1)
        column = self._inverse[:size, :size] @ self.alike(self._observed, row[None])[:, 0]
        pivot = math.sqrt(max(1 + self._hyper.noise - float(column @ column), self._hyper.noise))
        self._factor[size, :size], self._factor[size, size] = column, pivot
        self._inverse[size, :size], self._inverse[size, size] = -(column @ self._inverse[:size, :size]) / pivot, 1 / pivot
        self._observed = np.vstack([self._observed, row])
        self._noise = np.append(self._noise, self._hyper.noise)

    def with_pending(self, rows: Indices) -> Posterior:
        """Another one that has observed these as well."""
        other = object.__new__(Posterior)
        other.__dict__.update(self.__dict__)
        other._factor, other._inverse = self._factor.copy(), self._inverse.copy()
        for row in rows:
            other.observe(row)
        return other

    def alike(self, left: Indices, right: Indices) -> Array:
        """[left x right]: correlations of two lists of levels."""
        return self._correlation.between(left, right)

    def whitened(self, values: Array) -> Array:
        """L^-1 of `values` [n x any], or of the first of them."""
        size = len(values)
        whitened: Array = self._inverse[:size, :size] @ values
        return whitened

    def factor_row(self, place: int) -> tuple[Array, float]:
        """Of L: row `place` before the diagonal, and the diagonal."""
        return self._factor[place, :place], float(self._factor[place, place])

    def explain(self, scores: Array) -> Explained:
        """`scores` [n] of the observations."""
        size = len(self)
        ones, white = self.whitened(np.ones(size)), self.whitened(scores)
        level = float(ones @ white) / float(ones @ ones)
        residual = white - level * ones
        variance = (float(residual @ residual) + 1) / (size + 1)  # as in kernel.py
        expected = scores - self._noise * (self._inverse[:size, :size].T @ residual)
        return Explained(level, residual, variance, expected)

    def _make_room(self, size: int) -> None:
        if size > len(self._factor):
            known = len(self)
            room = np.zeros((2, size + size // 6 + 8, size + size // 6 + 8))
            room[0, :known, :known], room[1, :known, :known] = self._factor[:known, :known], self._inverse[:known, :known]
            self._factor, self._inverse = room


class View:
    """What a posterior believes about a list of candidates. It keeps L^-1 K [n x candidates], K being the correlations of observations and
    candidates; an observation adds one row."""

    def __init__(self, posterior: Posterior, levels: Indices) -> None:
        """`levels` [candidates x axes]."""
        self.posterior = posterior
        self.levels = levels
        known = posterior.whitened(posterior.alike(posterior.observed[: posterior.begun_with], levels))  # the others as they were added
        self._rows = np.empty((len(known) + len(known) // 6 + 8, len(levels)))
        self._rows[: len(known)] = known
        self._size = len(known)
        self._explained = np.einsum("ij,ij->j", known, known)

    def belief(self, explained: Explained, pending: Indices) -> Belief:
        """`explained`: the posterior's scores. `pending` [p x axes]: what is being measured, taken to turn out as expected.

        That leaves the mean as it is and takes their uncertainty away (the "kriging believer" of Ginsbourger et al., 2010).
        """
        posterior = self.posterior
        for place in range(self._size, len(posterior)):
            self._explained = self._explained + self._add(place, posterior) ** 2
        self._size = len(posterior)
        known = self._explained
        if len(pending):
            later = posterior.with_pending(pending)
            for place in range(len(posterior), len(later)):  # in rows that the next observations will overwrite
                known = known + self._add(place, later) ** 2
        mean = explained.level + explained.residual @ self._rows[: self._size]
        return Belief(mean, np.sqrt(explained.variance * np.maximum(1 - known, 1e-9)))

    def _add(self, place: int, posterior: Posterior) -> Array:
        """Row `place` of L^-1 K, from those above it."""
        if place >= len(self._rows):
            rows = np.empty((place + place // 6 + 8, len(self.levels)))
            rows[:place] = self._rows[:place]
            self._rows = rows
        column, pivot = posterior.factor_row(place)
        alike = posterior.alike(posterior.observed[place : place + 1], self.levels)[0]
        self._rows[place] = (alike - column @ self._rows[:place]) / pivot
        row: Array = self._rows[place]
        return row
