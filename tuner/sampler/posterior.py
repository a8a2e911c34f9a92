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
    correlations of observations and candidates. A new observation of candidate c adds one row: column c of L^-1 K is what it needs.
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
        self._inverse = np.linalg.inv(factor)
        self._rows = self._inverse @ correlation(self._tables, levels, grid.levels)
        self._explained = np.einsum("ij,ij->j", self._rows, self._rows)

    def observe(self, candidate: int) -> None:
        """One more measurement, of this study."""
        size = len(self.observed)
        column, pivot, row = self._next_row(self._rows, candidate)
        inverse = np.zeros((size + 1, size + 1))
        inverse[:size, :size] = self._inverse
        inverse[size, :size] = -(column @ self._inverse) / pivot
        inverse[size, size] = 1 / pivot
        self._inverse = inverse
        self._rows = np.vstack([self._rows, row])
        self._explained = self._explained + row**2
        self.observed = np.append(self.observed, candidate)

    def belief(self, scores: Array, pending: Indices) -> Belief:
        """`scores` [n] of the observations. `pending`: candidates that are being measured, taken to turn out as expected.

        That leaves the mean as it is and takes their uncertainty away (the "kriging believer" of Ginsbourger et al., 2010).
        """
        ones = self._inverse.sum(axis=1)
        white = self._inverse @ scores
        level = float(ones @ white) / float(ones @ ones)
        residual = white - level * ones
        variance = (float(residual @ residual) + 1) / (len(scores) + 1)  # as in kernel.py
        explained, rows = self._explained, self._rows
        for candidate in pending:
            _, _, row = self._next_row(rows, int(candidate))
            rows, explained = np.vstack([rows, row]), explained + row**2
        return Belief(level + residual @ self._rows, np.sqrt(variance * np.maximum(1 - explained, 1e-9)))

    def _next_row(self, rows: Array, candidate: int) -> tuple[Array, float, Array]:
        """What an observation of `candidate` adds to `rows` [n x candidates]: the factor's off-diagonal [n], its pivot, the row."""
        column = rows[:, candidate]
        pivot = math.sqrt(max(1 + self._hyper.noise - float(column @ column), self._hyper.noise))
        alike = correlation(self._tables, self._grid.levels[[candidate]], self._grid.levels)
        return column, pivot, (alike[0] - column @ rows) / pivot
