"""A small space with a known best, and searches of it (or of another one)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

Params = dict[str, Any]
SPACE: dict[str, BaseDistribution] = {
    "page": CategoricalDistribution((16, 32, 64, 128)),
    "budget": IntDistribution(1, 8),
    "arm": CategoricalDistribution(("default", "aligned", "strict")),
}


def throughput(params: Params) -> float:
    """Best at page 64, budget 6, arm aligned."""
    page = math.log2(params["page"] / 64)
    arm = {"default": 0.0, "aligned": 5.0, "strict": -7.0}[params["arm"]]
    return 100 - 9 * page**2 - 4 * abs(page) - float(params["budget"] - 6) ** 2 + arm


def run(
    sampler: optuna.samplers.BaseSampler,
    count: int,
    value: Callable[[Params], float | None] = throughput,
    direction: Literal["maximize", "minimize"] = "maximize",
    space: dict[str, BaseDistribution] | None = None,
    study: optuna.Study | None = None,
) -> list[Params]:
    """The parameters that `count` further trials got; a value of None is a failed trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = study or optuna.create_study(direction=direction)
    study.sampler = sampler
    asked = []
    for _ in range(count):
        trial = study.ask(space or SPACE)
        asked.append(dict(trial.params))
        result = value(trial.params)
        study.tell(trial, result, state=TrialState.FAIL if result is None else None)
    return asked


def distinct(asked: list[Params]) -> int:
    return len({tuple(sorted(params.items())) for params in asked})
