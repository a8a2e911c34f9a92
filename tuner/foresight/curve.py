"""The two forms in which an operation's seconds depend on its work, and their robust fits. Pure.

A form takes `terms`, what an operation has to do ([operations x terms]), and gives seconds:

- `roofline`: fixed + ((flops / F)^q + (bytes / B)^q)^(1/q), a roofline with a rounded corner (q > 1) and a fixed cost. Terms: flops, bytes.
- `linear`: a sum of the terms with weights of 0 or more.

Both are fitted to relative errors, and to their absolute values rather than squares: tables of real devices have points that are off by a
factor of two, which must not bend the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROOFLINE, LINEAR = "roofline", "linear"
_FEW = 0.02  # relative errors below it count as squares, above as absolute values
_LINEAR_ROUNDS = 12
_NEWTON_ROUNDS = 40
_START = (1e-6, 7e14, 1.4e12, 2.0)  # s, flop/s, bytes/s, sharpness: orders of magnitude of one chip
_LOWEST, _HIGHEST = np.log((1e-9, 1e10, 1e8, 1.05)), np.log((1e-2, 1e17, 1e15, 20.0))


@dataclass(frozen=True)
class Curve:
    """`weights`: of `linear` one a term; of `roofline` fixed seconds, flop/s, bytes/s and the sharpness q."""

    form: str
    weights: tuple[float, ...]

    def seconds(self, terms: Floats) -> Floats:
        """[operations]."""
        if self.form == LINEAR:
            return np.asarray(terms @ np.array(self.weights), dtype=np.float64)
        return _roofline(np.log(self.weights), terms)


def fit(form: str, terms: Floats, seconds: Floats, importance: Floats) -> Curve:
    """`seconds`, `importance`: [operations], all above 0."""
    if form == LINEAR:
        return Curve(LINEAR, tuple(map(float, _fit_linear(terms, seconds, importance))))
    return Curve(ROOFLINE, tuple(map(float, np.exp(_fit_roofline(terms, seconds, importance)))))


def _fit_linear(terms: Floats, seconds: Floats, importance: Floats) -> Floats:
    """Least squares, weighted anew by the size of the errors until they are absolute values; what would be negative is left out."""
    relative = terms / seconds[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-300)
    weights, used = importance.copy(), np.ones(terms.shape[1], dtype=bool)
    found = np.zeros(terms.shape[1])
    for _ in range(_LINEAR_ROUNDS):
        used[:] = True
        while used.any():
            root = np.sqrt(weights)
            solved = np.linalg.lstsq(relative[:, used] / scale[used] * root[:, None], root, rcond=None)[0] / scale[used]
            if (solved >= 0).all():
                break
            used[np.flatnonzero(used)[np.argmin(solved * scale[used])]] = False
        found[:] = 0.0
        found[used] = solved
        weights = importance / np.maximum(np.abs(relative @ found - 1), _FEW)
    return found


def _roofline(log_weights: Floats, terms: Floats) -> Floats:
    fixed, flops_s, bytes_s, sharp = np.exp(log_weights)
    first, second = terms[:, 0] / flops_s, terms[:, 1] / bytes_s
    larger = np.maximum(np.maximum(first, second), 1e-300)
    return np.asarray(fixed + larger * ((first / larger) ** sharp + (second / larger) ** sharp) ** (1 / sharp), dtype=np.float64)


def _fit_roofline(terms: Floats, seconds: Floats, importance: Floats) -> Floats:
    """Levenberg and Marquardt's method on log errors, in the logarithms of the four weights."""
    aim = np.log(seconds)

    def errors(point: Floats) -> Floats:
        return np.asarray(np.log(_roofline(point, terms)) - aim, dtype=np.float64)

    def cost(values: Floats) -> float:
        return float(np.sum(importance * (np.sqrt(_FEW**2 + values**2) - _FEW)))

    point, damping = np.log(np.array(_START)), 1e-2
    here = errors(point)
    for _ in range(_NEWTON_ROUNDS):
        weights = importance / np.sqrt(_FEW**2 + here**2)
        slopes = np.stack([(errors(point + step) - here) / 1e-5 for step in 1e-5 * np.eye(len(point))], axis=1)
        bent, pull = slopes.T @ (slopes * weights[:, None]), slopes.T @ (weights * here)
        trial = np.clip(point - np.linalg.solve(bent + damping * (np.diag(np.diag(bent)) + 1e-12 * np.eye(4)), pull), _LOWEST, _HIGHEST)
        there = errors(trial)
        if cost(there) < cost(here):
            settled = np.abs(trial - point).max() < 1e-6
            point, here, damping = trial, there, damping / 4
            if settled:
                break
        else:
            damping = min(damping * 6, 1e8)
    return np.asarray(point, dtype=np.float64)
