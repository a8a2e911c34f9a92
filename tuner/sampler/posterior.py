"""What is believed about every candidate after some results. Pure linear algebra; a result is added without starting again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tuner.sampler.grid import Array, CandidateGrid, Indices
from tuner.sampler.kernel import Hyperparameters, correlation, tables


@dataclass(frozen=True)
class Belief:
    """[candidates] each, in scores: expectation and standard deviation of the true score, without the noise of a measurement."""

    mean: Array
    deviation: Array


class Posterior:
    """A Gaussian process with constant mean over the candidates of a grid.

    It keeps the inverse of the Cholesky factor L of the observations' covariance [n x n] and L^-1 K [n x candidates], K being the
    correlations of observations and candidates. A new observation of candidate c adds one row: column c of L^-1 K is what it needs. There
    is room for some more rows from the start, so that adding one copies nothing.
    """

    def __init__(self, grid: CandidateGrid, hyper: Hyperparameters, observed: Indices, earlier: Array) -> None:
        """`observed` [n]: candidates, repeats allowed; `earlier` [n]: 1 for results of earlier studies, else 0."""
        self.observed = observed
        self._grid = grid
        self._hyper = hyper
        self._tables = tables(grid.axes, hyper.log_lengths)
        levels = grid.levels[observed]
        noise = np.where(earlier > 0, hyper.earlier_noise, hyper.noise)
        factor = np.linalg.cholesky(correlation(self._tables, levels, levels) + np.diag(noise))
        inverse = np.linalg.inv(factor)
        rows = inverse @ correlation(self._tables, levels, grid.levels)
        self._explained = np.einsum("ij,ij->j", rows, rows)
        self._inverse, self._rows = inverse, rows
        self._make_room(len(observed) // 6 + 8)

    def observe(self, candidate: int) -> None:
        """One more measurement, of this study."""
        size = len(self.observed)
        if size == len(self._rows):
            self._make_room(size // 6 + 8)
        column, pivot, row = self._next_row(size, candidate)
        inverse = self._inverse
        inverse[size, :size] = -(column @ inverse[:size, :size]) / pivot
        inverse[size, size] = 1 / pivot
        self._rows[size] = row
        self._explained = self._explained + row**2
        self.observed = np.append(self.observed, candidate)

    def belief(self, scores: Array, pending: Indices) -> Belief:
        """`scores` [n] of the observations. `pending`: candidates that are being measured, taken to turn out as expected.

        That leaves the mean as it is and takes their uncertainty away (the "kriging believer" of Ginsbourger et al., 2010).
        """
        size = len(scores)
        inverse = self._inverse[:size, :size]
        ones = inverse.sum(axis=1)
        white = inverse @ scores
        level = float(ones @ white) / float(ones @ ones)
        residual = white - level * ones
        variance = (float(residual @ residual) + 1) / (size + 1)  # as in kernel.py
        explained = self._explained
        if size + len(pending) > len(self._rows):
            self._make_room(len(pending))
        for place, candidate in enumerate(pending, start=size):  # in rows that the next observations will overwrite
            _, _, row = self._next_row(place, int(candidate))
            self._rows[place] = row
            explained = explained + row**2
        return Belief(level + residual @ self._rows[:size], np.sqrt(variance * np.maximum(1 - explained, 1e-9)))

    def _make_room(self, more: int) -> None:
        """For so many more observations."""
        size = len(self.observed)
        inverse = np.zeros((size + more, size + more))
        inverse[:size, :size] = self._inverse[:size, :size]
        rows = np.empty((size + more, len(self._grid)))
        rows[:size] = self._rows[:size]
        self._inverse, self._rows = inverse, rows

    def _next_row(self, size: int, candidate: int) -> tuple[Array, float, Array]:
        """What an observation of `candidate` adds to the first `size` rows: the factor's off-diagonal [n], its pivot, the row."""
        rows = self._rows[:size]
        column = rows[:, candidate].copy()
        pivot = math.sqrt(max(1 + self._hyper.noise - float(column @ column), self._hyper.noise))
        alike = correlation(self._tables, self._grid.levels[[candidate]], self._grid.levels)
        return column, pivot, (alike[0] - column @ rows) / pivot
