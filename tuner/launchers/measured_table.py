"""A table of measured configurations: the exhaustive truth that a search can be judged against. Pure but for Optuna's distributions.

One row is one configuration; its samples are repeated measurements of the same thing. Reading files: table_files.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Literal

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from tuner.core.errors import BadInput, FailureClass
from tuner.metrics.catalog import Direction

Value = int | float | str
Params = Mapping[str, Value]


@dataclass(frozen=True)
class Noise:
    """What a measurement adds to the truth. Both kinds keep the mean of a configuration.

    `resample`: one of the configuration's repeated measurements, all equally often. `multiplicative`: the mean times a lognormal factor
    of mean 1 and standard deviation about `sigma` (0.02 = 2 %), independent for every metric.
    """

    kind: Literal["none", "resample", "multiplicative"] = "none"
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise BadInput(f"noise sigma {self.sigma} must be 0 or more, e.g. 0.02 for 2 %")


NO_NOISE = Noise()


@dataclass(frozen=True)
class TablePoint:
    """A measured configuration. `samples`: metric -> its measurements [repeats], of every metric as many; empty where `failure` is set."""

    params: dict[str, Value]
    samples: dict[str, tuple[float, ...]]
    start_s: float = 0.0  # cost of starting (compiling) it
    measure_s: float = 1.0  # cost of measuring it once
    failure: FailureClass | None = None
    message: str = ""
    wait_s: float = 0.0  # for which measuring it once really takes, as an engine would


@dataclass(frozen=True)
class Evaluation:
    """One trial of a configuration: values (metric -> value), or a failure and none. `cost_s` is start and measurement together."""

    values: dict[str, float]
    cost_s: float
    failure: FailureClass | None = None
    message: str = ""


@dataclass(frozen=True)
class MeasuredTable:
    """`parameters` and `directions` (metric -> which way is better) name the columns. Every configuration is there once."""

    name: str
    parameters: tuple[str, ...]
    directions: dict[str, Direction]
    configurations: tuple[TablePoint, ...]
    _index: dict[tuple[Value, ...], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys = [tuple(configuration.params[name] for name in self.parameters) for configuration in self.configurations]
        object.__setattr__(self, "_index", {key: position for position, key in enumerate(keys)})
        if len(self._index) < len(keys):
            raise ValueError(f"table {self.name}: a configuration is there twice")

    def values_of(self, parameter: str) -> list[Value]:
        """The distinct values of a parameter, numbers in ascending order before words."""
        distinct = {configuration.params[parameter] for configuration in self.configurations}
        return sorted(distinct, key=lambda value: (isinstance(value, str), value))

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's search space. Evenly spaced whole numbers become an IntDistribution with that step, everything else is categorical.

        Where the table is not a full grid, a sampler can propose what is not in it: ask `contains` before `evaluate`.
        """
        return {name: _distribution(self.values_of(name)) for name in self.parameters}

    def contains(self, params: Params) -> bool:
        return tuple(params.get(name) for name in self.parameters) in self._index

    def find(self, params: Params) -> TablePoint:
        """Exact look-up. Raises BadInput naming the nearest configuration that exists."""
        return self.configurations[self._position(params)]

    def nearest(self, params: Params) -> TablePoint:
        """The configuration with the least distance: per given parameter the difference over the table's range, 0 or 1 for words."""
        spans = {name: _span(self.values_of(name)) for name in self.parameters if name in params}
        return min(self.configurations, key=lambda configuration: _distance(configuration.params, params, spans))

    def truth(self, params: Params, metric: str) -> float | None:
        """The mean over all samples; None for a configuration that fails. Raises BadInput for an unknown configuration or metric."""
        self._direction(metric)
        return _mean(self.find(params), metric)

    def best(self, metric: str) -> tuple[dict[str, Value], float]:
        """The best configuration by exhaustive truth, and its value; of equal ones the first. Raises BadInput if all fail."""
        sign = self._direction(metric).sign
        known = [(configuration, mean) for configuration in self.configurations if (mean := _mean(configuration, metric)) is not None]
        if not known:
            raise BadInput(f"table {self.name}: every configuration fails, so {metric} has no best value")
        configuration, value = max(known, key=lambda pair: sign * pair[1])
        return dict(configuration.params), value

    def evaluate(self, params: Params, seed: int, noise: Noise = NO_NOISE) -> Evaluation:
        """Measure once. The same configuration, `seed` and `noise` give the same answer, whatever was asked before.

        Raises BadInput for what is not in the table; a configuration that fails is an Evaluation with a `failure`.
        """
        position = self._position(params)
        configuration = self.configurations[position]
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, position])))
        values = {} if configuration.failure else _sample(configuration, noise, rng)
        return Evaluation(values, configuration.start_s + configuration.measure_s, configuration.failure, configuration.message)

    def _position(self, params: Params) -> int:
        if problem := sorted({*params} ^ {*self.parameters}):
            known = ", ".join(self.parameters)
            raise BadInput(f"table {self.name}: parameter {problem[0]!r} is missing or unknown; give exactly {known}")
        position = self._index.get(tuple(params[name] for name in self.parameters))
        if position is None:
            raise BadInput(
                f"table {self.name} has no configuration {describe(params)}; the nearest is {describe(self.nearest(params).params)}"
            )
        return position

    def _direction(self, metric: str) -> Direction:
        if metric not in self.directions:
            raise BadInput(f"table {self.name} has no metric {metric!r}; use one of {', '.join(self.directions)}")
        return self.directions[metric]


def describe(params: Params) -> str:
    """`block_size=16 arm=default`, for messages."""
    return " ".join(f"{name}={value}" for name, value in params.items())


def _mean(configuration: TablePoint, metric: str) -> float | None:
    return None if configuration.failure else fmean(configuration.samples[metric])


def _sample(configuration: TablePoint, noise: Noise, rng: np.random.Generator) -> dict[str, float]:
    samples = configuration.samples
    if noise.kind == "resample":
        chosen = int(rng.integers(len(next(iter(samples.values())))))
        return {metric: repeats[chosen] for metric, repeats in samples.items()}
    means = {metric: fmean(repeats) for metric, repeats in samples.items()}
    if noise.kind == "none":
        return means
    return {metric: mean * float(rng.lognormal(-(noise.sigma**2) / 2, noise.sigma)) for metric, mean in means.items()}


def _distribution(values: Sequence[Value]) -> BaseDistribution:
    whole = [value for value in values if isinstance(value, int)]
    if len(whole) == len(values):
        steps = {later - earlier for earlier, later in pairwise(whole)}
        if len(steps) <= 1:
            return IntDistribution(whole[0], whole[-1], step=max(steps, default=1))
    return CategoricalDistribution(values)


def _span(values: Iterable[Value]) -> float:
    numbers = [value for value in values if not isinstance(value, str)]
    return (max(numbers) - min(numbers)) or 1.0 if numbers else 1.0


def _distance(params: Params, asked: Params, spans: Mapping[str, float]) -> float:
    total = 0.0
    for name, span in spans.items():
        ours, theirs = params[name], asked[name]
        if isinstance(ours, str) or isinstance(theirs, str):
            total += float(ours != theirs)
        else:
            total += abs(ours - theirs) / span
    return total
