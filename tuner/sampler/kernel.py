"""How alike two configurations are, and how strongly each parameter matters: learned by marginal likelihood. Pure.

The correlation of two configurations is a mean of two: the product over the axes of Matern functions of their distance (Rasmussen and
Williams, "Gaussian Processes for Machine Learning", 2006, chapters 4.2 and 5.4), and the mean of these functions. The first knows of
every interaction; the second says that each parameter adds its own effect (Duvenaud, Nickisch and Rasmussen, "Additive Gaussian processes",
2011), so that what an option does is known from few results. The share of either is learned; each axis has its own length scale;
measurements add independent noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.sampler.grid import Array, Axis, Indices

# Weak priors, the same for every search. A length is the fraction of an axis over which results stay alike; with more axes each of them
# explains less (Hvarfner et al., "Vanilla Bayesian optimization performs great in high dimensions", 2024), and a step between two values of
# an axis without order is all that it has, while an ordered one has many. Noise: variance over signal's.
LENGTH_PRIOR = (0.5, 0.8)  # median (times the root of the number of axes), standard deviation of the logarithm
UNORDERED = 2.0  # times the median, of axes without order and switches
NOISE_PRIOR = (0.02, 1.5)
SHARE_PRIOR = (0.0, 1.0)  # log odds of the product's share
_LOG_LENGTH_BOUNDS = (math.log(0.02), math.log(50.0))
_LOG_NOISE_BOUNDS = (math.log(1e-4), math.log(10.0))
_SHARE_BOUNDS = (-6.0, 6.0)
_FEW_LEVELS = 512  # of all axes together: then correlations are a product of matrices
_STEPS = 25
_JITTER = 1e-8


@dataclass(frozen=True)
class Hyperparameters:
    """`log_lengths` [axes]; noise variances relative to the signal's. `earlier_noise` is that of earlier studies' results. `share`, between
    0 and 1: the product's."""

    log_lengths: Array
    noise: float
    earlier_noise: float
    share: float


class Correlation:
    """Of configurations given by their levels [n x axes]."""

    def __init__(self, axes: Sequence[Axis], hyper: Hyperparameters) -> None:
        self._share = hyper.share
        self._tables = [_matern(axis.distances, length)[0] for axis, length in zip(axes, np.exp(hyper.log_lengths), strict=True)]
        self._starts = np.cumsum([0, *(len(table) for table in self._tables)])

    def between(self, left: Indices, right: Indices) -> Array:
        """[left x right]"""
        if self._starts[-1] > _FEW_LEVELS or len(left) < len(self._tables):
            return self._one_by_one(left, right)
        rows = np.hstack([table[column] for table, column in zip(self._tables, left.T, strict=True)])
        has = np.zeros((self._starts[-1], len(right)))
        for start, column in zip(self._starts[:-1], right.T, strict=True):
            has[start + column, np.arange(len(right))] = 1.0
        product: Array = np.log(rows) @ has
        np.exp(product, out=product)
        product *= self._share
        product += (rows * ((1 - self._share) / len(self._tables))) @ has
        return product

    def _one_by_one(self, left: Indices, right: Indices) -> Array:
        product, mean = np.ones((len(left), len(right))), np.zeros((len(left), len(right)))
        for position, table in enumerate(self._tables):
            part = table[left[:, position][:, None], right[:, position][None, :]]
            product *= part
            mean += part
        result: Array = self._share * product + ((1 - self._share) / len(self._tables)) * mean
        return result


def fit(axes: Sequence[Axis], levels: Indices, scores: Array, earlier: Array) -> Hyperparameters:
    """The most probable hyperparameters, by Rprop (Riedmiller and Braun, 1993) from the prior's median; the same input, the same answer.

    `levels` [n x axes], `scores` [n], `earlier` [n] is 1 for results of earlier studies, else 0.
    """
    prior, data = Prior.of(axes), Data.of(axes, levels, scores, earlier)
    theta = prior.median
    step = np.full(len(theta), 0.3)
    loss, slope = _loss(theta, prior, data)
    best, least = theta, loss
    for _ in range(_STEPS):
        theta = np.clip(theta - np.sign(slope) * step, prior.low, prior.high)
        loss, new_slope = _loss(theta, prior, data)
        agree = np.sign(new_slope) * np.sign(slope)
        step = np.clip(np.where(agree > 0, 1.3, np.where(agree < 0, 0.5, 1.0)) * step, 1e-3, 1.0)
        slope = new_slope
        if loss < least:
            best, least = theta, loss
    count = len(axes)
    noise = math.exp(best[count])
    return Hyperparameters(best[:count], noise, noise + math.exp(best[count + 1]), _logistic(best[count + 2]))


@dataclass(frozen=True)
class Prior:
    """[parameters] each: one log length per axis, log noise, log extra noise of earlier results, log odds of the product's share."""

    median: Array
    spread: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, axes: Sequence[Axis]) -> Prior:
        root = math.sqrt(len(axes))
        lengths = [(math.log(LENGTH_PRIOR[0] * root * (UNORDERED if _has_no_order(axis) else 1.0)), LENGTH_PRIOR[1]) for axis in axes]
        noise = math.log(NOISE_PRIOR[0]), NOISE_PRIOR[1]
        bounds = [_LOG_LENGTH_BOUNDS] * len(axes) + [_LOG_NOISE_BOUNDS] * 2 + [_SHARE_BOUNDS]
        return cls(*np.array([*lengths, noise, noise, SHARE_PRIOR]).T, *np.array(bounds).T)


def _has_no_order(axis: Axis) -> bool:
    """All levels are equally far apart."""
    return bool(np.isin(axis.distances, (0.0, 1.0)).all())


@dataclass(frozen=True)
class Data:
    """What was measured, with only those levels of each axis that occur: of hundreds of chunk budgets few were measured.

    `distances` [axes x levels x levels], 0 beyond the levels of an axis; `levels` [n x axes]; `has` [n x axes * levels] is 1 at the level
    that an observation has of each axis, else 0; `scores` [n]; `earlier` [n], 1 for results of earlier studies.
    """

    distances: Array
    levels: Indices
    has: Array
    scores: Array
    earlier: Array

    @classmethod
    def of(cls, axes: Sequence[Axis], levels: Indices, scores: Array, earlier: Array) -> Data:
        seen = [np.unique(column, return_inverse=True) for column in levels.T]
        most = max(len(present) for present, _ in seen)
        distances = np.zeros((len(axes), most, most))
        for table, axis, (present, _) in zip(distances, axes, seen, strict=True):
            table[: len(present), : len(present)] = axis.distances[np.ix_(present, present)]
        places = np.stack([column.reshape(-1) for _, column in seen], axis=1).astype(np.intp)
        has = (places[:, :, None] == np.arange(most)).astype(float).reshape(len(levels), -1)
        return cls(distances, places, has, scores, earlier)

    def rows(self, tables: Array) -> Array:
        """[n x axes * levels]: of `tables` [axes x levels x levels] the row of each observation's level."""
        found: Array = tables[np.arange(len(tables)), self.levels].reshape(len(self.levels), -1)
        return found


def _loss(theta: Array, prior: Prior, data: Data) -> tuple[float, Array]:
    """Minus the log posterior density of theta and its gradient; mean and signal variance are integrated or profiled out."""
    count, size = len(data.distances), len(data.scores)
    value, change = _matern(data.distances, np.exp(theta[:count])[:, None, None])
    product: Array = np.exp(data.rows(np.log(value)) @ data.has.T)
    mean: Array = data.rows(value) @ data.has.T / count
    noise, extra = np.exp(theta[count : count + 2])
    share = _logistic(theta[count + 2])
    covariance = share * product + (1 - share) * mean + np.diag(noise + extra * data.earlier + _JITTER)
    inverse = np.linalg.inv(covariance)
    ones = inverse.sum(axis=0)
    residual = data.scores - (ones @ data.scores) / ones.sum()
    weights = inverse @ residual
    variance = (residual @ weights + 1) / (size + 1)  # one pseudo-observation of variance 1, that of normal scores
    loss = 0.5 * (size + 1) * math.log(variance) + 0.5 * float(np.linalg.slogdet(covariance)[1])
    pull = np.outer(weights, weights) / variance - inverse
    of_product, of_mean = share * pull * product, (1 - share) / count * pull
    by_level = (of_product @ data.has) * data.rows(change / value) + (of_mean @ data.has) * data.rows(change)
    diagonal = np.diag(pull)
    slope = np.empty(len(theta))
    slope[:count] = -0.5 * by_level.reshape(size, count, -1).sum(axis=(0, 2))
    slope[count] = -0.5 * noise * float(diagonal.sum())
    slope[count + 1] = -0.5 * extra * float(diagonal @ data.earlier)
    slope[count + 2] = -0.5 * share * (1 - share) * float((pull * (product - mean)).sum())
    away = (theta - prior.median) / prior.spread
    return loss + 0.5 * float(away @ away), slope + away / prior.spread


def _logistic(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _matern(distances: Array, length: float | Array) -> tuple[Array, Array]:
    """Matern 3/2 and its derivative by the logarithm of the length."""
    scaled = math.sqrt(3) * distances / length
    decay = np.exp(-scaled)
    return (1 + scaled) * decay, scaled**2 * decay
