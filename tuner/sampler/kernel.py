"""How alike two configurations are, and how strongly each parameter matters: learned by marginal likelihood. Pure.

The correlation of two candidates is a product over the axes of Matern functions of their distance (Rasmussen and Williams, "Gaussian
Processes for Machine Learning", 2006, chapters 4.2 and 5.4); each axis has its own length scale, measurements add independent noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.sampler.grid import Array, Axis, Indices

# Weak priors, the same for every search. A length is the fraction of an axis over which results stay alike; with more axes each of them
# explains less (Hvarfner et al., "Vanilla Bayesian optimization performs great in high dimensions", 2024). Noise: variance over signal's.
LENGTH_PRIOR = (0.5, 1.0)  # median (times the root of the number of axes), standard deviation of the logarithm
NOISE_PRIOR = (0.05, 1.5)
_LOG_LENGTH_BOUNDS = (math.log(0.02), math.log(50.0))
_LOG_NOISE_BOUNDS = (math.log(1e-4), math.log(10.0))
_STEPS = 25
_JITTER = 1e-8


@dataclass(frozen=True)
class Hyperparameters:
    """`log_lengths` [axes]; noise variances relative to the signal's. `earlier_noise` is that of earlier studies' results."""

    log_lengths: Array
    noise: float
    earlier_noise: float


def tables(axes: Sequence[Axis], log_lengths: Array) -> list[Array]:
    """Per axis [levels x levels]: the correlation of two levels."""
    return [_matern(axis.distances, length)[0] for axis, length in zip(axes, np.exp(log_lengths), strict=True)]


def correlation(parts: Sequence[Array], left: Indices, right: Indices) -> Array:
    """[left x right], from `tables` and levels [n x axes]."""
    result = np.ones((len(left), len(right)))
    for position, part in enumerate(parts):
        result *= part[left[:, position][:, None], right[:, position][None, :]]
    return result


def fit(axes: Sequence[Axis], levels: Indices, scores: Array, earlier: Array) -> Hyperparameters:
    """The most probable hyperparameters, by Rprop (Riedmiller and Braun, 1993) from the prior's median; the same input, the same answer.

    `levels` [n x axes], `scores` [n], `earlier` [n] is 1 for results of earlier studies, else 0.
    """
    axes, levels = _seen(axes, levels)
    theta, bounds = _start(len(axes))
    step = np.full(len(theta), 0.3)
    loss, slope = _loss(theta, axes, levels, scores, earlier)
    best, least = theta, loss
    for _ in range(_STEPS):
        theta = np.clip(theta - np.sign(slope) * step, bounds[:, 0], bounds[:, 1])
        loss, new_slope = _loss(theta, axes, levels, scores, earlier)
        agree = np.sign(new_slope) * np.sign(slope)
        step = np.clip(np.where(agree > 0, 1.3, np.where(agree < 0, 0.5, 1.0)) * step, 1e-3, 1.0)
        slope = new_slope
        if loss < least:
            best, least = theta, loss
    count = len(axes)
    noise = math.exp(best[count])
    return Hyperparameters(best[:count], noise, noise + math.exp(best[count + 1]))


def _seen(axes: Sequence[Axis], levels: Indices) -> tuple[list[Axis], Indices]:
    """The same with only those levels of each axis that occur: of hundreds of chunk budgets few were measured."""
    kept, columns = [], []
    for axis, column in zip(axes, levels.T, strict=True):
        present, places = np.unique(column, return_inverse=True)
        kept.append(Axis(axis.name, tuple(axis.values[level] for level in present), axis.distances[np.ix_(present, present)]))
        columns.append(places.reshape(-1))
    return kept, np.stack(columns, axis=1).astype(np.intp)


def _start(count: int) -> tuple[Array, Array]:
    """The prior's median and the bounds [parameters x 2]: one log length per axis, log noise, log extra noise of earlier results."""
    start = np.array([math.log(LENGTH_PRIOR[0] * math.sqrt(count))] * count + [math.log(NOISE_PRIOR[0])] * 2)
    return start, np.array([_LOG_LENGTH_BOUNDS] * count + [_LOG_NOISE_BOUNDS] * 2)


def _loss(theta: Array, axes: Sequence[Axis], levels: Indices, scores: Array, earlier: Array) -> tuple[float, Array]:
    """Minus the log posterior density of theta and its gradient; mean and signal variance are integrated or profiled out."""
    count, size = len(axes), len(scores)
    pairs = [_matern(axis.distances, length) for axis, length in zip(axes, np.exp(theta[:count]), strict=True)]
    alike = correlation([pair[0] for pair in pairs], levels, levels)
    noise, extra = np.exp(theta[count:])
    covariance = alike + np.diag(noise + extra * earlier + _JITTER)
    inverse = np.linalg.inv(covariance)
    ones = inverse.sum(axis=0)
    residual = scores - (ones @ scores) / ones.sum()
    weights = inverse @ residual
    variance = (residual @ weights + 1) / (size + 1)  # one pseudo-observation of variance 1, that of normal scores
    loss = 0.5 * (size + 1) * math.log(variance) + 0.5 * float(np.linalg.slogdet(covariance)[1])
    pull = np.outer(weights, weights) / variance - inverse
    slope = np.empty(count + 2)
    shared = pull * alike
    for position, (value, change) in enumerate(pairs):
        ratio = change / value
        column = levels[:, position]
        slope[position] = -0.5 * float((shared * ratio[column[:, None], column[None, :]]).sum())
    diagonal = np.diag(pull)
    slope[count] = -0.5 * noise * float(diagonal.sum())
    slope[count + 1] = -0.5 * extra * float(diagonal @ earlier)
    start, _ = _start(count)
    spread = np.array([LENGTH_PRIOR[1]] * count + [NOISE_PRIOR[1]] * 2)
    away = (theta - start) / spread
    return loss + 0.5 * float(away @ away), slope + away / spread


def _matern(distances: Array, length: float) -> tuple[Array, Array]:
    """Matern 3/2 and its derivative by the logarithm of the length."""
    scaled = math.sqrt(3) * distances / length
    decay = np.exp(-scaled)
    return (1 + scaled) * decay, scaled**2 * decay
