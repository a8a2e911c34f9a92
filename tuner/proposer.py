"""What to try next. Optuna's samplers work here on a throw-away study in memory that knows every result so far.

The study in the database thus holds exactly the trials that ran: a proposal that was made before is answered here, from what is known, and
never becomes a second trial.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Mapping, Sequence

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from tuner.metric_catalog import Direction
from tuner.space import Configuration, SearchSpace

SAMPLERS = ("random", "tpe", "gp", "nsga2")
_MAX_REPEATS = 24  # proposals of known configurations in a row before one is drawn at random


class Proposer:
    """`directions`: one per objective. The same seed and the same results give the same proposals."""

    def __init__(self, sampler: str, space: SearchSpace, directions: Sequence[Direction], seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._distributions = space.distributions()
        self._study = optuna.create_study(directions=[StudyDirection[item.name] for item in directions], sampler=_sampler(sampler, seed))
        self._random = random.Random(seed)  # noqa: S311  # no secret: a search must be repeatable
        self._running: dict[Configuration, Trial] = {}
        self._results: dict[Configuration, tuple[tuple[float, ...] | None, dict[str, float]]] = {}

    @property
    def known(self) -> frozenset[Configuration]:
        """Configurations that were proposed or told."""
        return frozenset({*self._running, *self._results})

    @property
    def exhausted(self) -> bool:
        return all(configuration in self.known for configuration in self._space.configurations)

    def tell(self, configuration: Configuration, values: Sequence[float] | None, constraints: Mapping[str, float]) -> None:
        """A result, or None for a failed trial; also of configurations that were not proposed here. Telling twice changes nothing."""
        if configuration in self._results:
            return
        self._results[configuration] = (tuple(values) if values is not None else None, dict(constraints))
        trial = self._running.pop(configuration, None) or self._ask(configuration.params)
        self._finish(trial, configuration)

    def propose(self, count: int, prefer_block_size: int | None = None) -> list[Configuration]:
        """Up to `count` new configurations, fewer where the space ends.

        `prefer_block_size`: the page size whose engine runs now. Every other proposal is asked for within it, as long as it has something
        new: a proposal there costs a measurement, elsewhere an engine start as well.
        """
        chosen: list[Configuration] = []
        while len(chosen) < count and not self.exhausted:
            reuse = len(chosen) % 2 == 0 and self._has_new(prefer_block_size)
            chosen.append(self._next({"block_size": prefer_block_size} if reuse else {}))
        return chosen

    def hold(self, configurations: Iterable[Configuration]) -> None:
        """Configurations that will be measured although they were not proposed (the baseline, the other arm)."""
        for configuration in configurations:
            if configuration not in self.known:
                self._running[configuration] = self._ask(configuration.params)

    def _next(self, fixed: Mapping[str, object]) -> Configuration:
        for _ in range(_MAX_REPEATS):
            trial = self._ask(fixed)
            configuration = Configuration.from_params(trial.params)
            if configuration in self._space and configuration not in self.known:
                self._running[configuration] = trial
                return configuration
            self._finish(trial, configuration)
        open_points = [item for item in self._space.configurations if item not in self.known]
        within = [item for item in open_points if fixed.get("block_size") in (None, item.block_size)]
        drawn = self._random.choice(within or open_points)
        self._running[drawn] = self._ask(drawn.params)
        return drawn

    def _ask(self, fixed: Mapping[str, object]) -> Trial:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a partly fixed proposal is meant
            if fixed:
                self._study.enqueue_trial(dict(fixed))
            return self._study.ask(self._distributions)

    def _finish(self, trial: Trial, configuration: Configuration) -> None:
        values, constraints = self._results.get(configuration, (None, {}))
        if values is None:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for name, value in constraints.items():
            trial.set_constraint(name, value)
        self._study.tell(trial, list(values))

    def _has_new(self, block_size: int | None) -> bool:
        return block_size is not None and any(item not in self.known for item in self._space.group(block_size))


def _sampler(name: str, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental samplers are asked for by name
        match name:
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed)
    raise ValueError(f"sampler {name!r} is none of {', '.join(SAMPLERS)}")
