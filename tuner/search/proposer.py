"""What to try next. Our sampler and Optuna's work here on a throw-away study in memory that knows every result so far.

The study in the database thus holds exactly the trials that ran: a proposal that was made before is answered here, from what is known, and
never becomes a second trial. Results of earlier studies are priors of our sampler; they never enter that study as trials.
"""

from __future__ import annotations

import importlib.util
import random
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tuner.core.errors import BadInput
from tuner.core.factors import LIVE_FACTORS
from tuner.metrics.catalog import Direction
from tuner.sampler.ordinal_gp import OrdinalGpSampler, Params
from tuner.setup.config import ORDINAL
from tuner.setup.space import Configuration, EngineKey, SearchSpace

SAMPLERS = ("random", "tpe", "gp", "nsga2", ORDINAL)
_LEAST_S = 1e-6  # what answers at once, a table, still takes some time: costs are compared by their ratio
_MAX_REPEATS = 24  # proposals of known configurations in a row before one is drawn at random


_GP_NEEDS = ("scipy", "torch")  # what optuna.samplers.GPSampler imports when it proposes; Optuna itself installs neither


def check_sampler(name: str) -> None:
    """Raises BadInput where the sampler's packages are not installed, as in the service's and the worker's image. Imports none of them."""
    missing = [package for package in _GP_NEEDS if name == "gp" and importlib.util.find_spec(package) is None]
    if missing:
        raise BadInput(
            f"needs {' and '.join(missing)}, not installed here",
            setting="sampler",
            value=name,
            fix=f"pip install {' '.join(missing)}, or use --sampler ordinal",
        )


@dataclass(frozen=True)
class Observation:
    """A result of an earlier study: values in the order of the objectives, None where it failed; constraints are met at 0 and below."""

    configuration: Configuration
    values: tuple[float, ...] | None
    constraints: Mapping[str, float]


@dataclass(frozen=True)
class Seconds:
    """What is known of costs: an engine's start, and measuring one proposal inside a running engine."""

    start_s: float
    measure_s: float


class Proposer:
    """`directions`: one per objective. The same seed and the same results give the same proposals."""

    def __init__(
        self,
        sampler: str,
        space: SearchSpace,
        directions: Sequence[Direction],
        seed: int,
        *,
        earlier: Sequence[Sequence[Observation]] = (),
        predicted: Sequence[Observation] = (),
        costs: Callable[[], Seconds] | None = None,
    ) -> None:
        """`earlier`: the results of each earlier study. `predicted`: what foresight expects, in this study's unit. `costs`: called at every
        proposal; None where an engine is never reused.

        Only our own sampler uses these three; Optuna's samplers cannot.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._distributions = space.distributions()
        self._costs = costs
        self._costs_known = sampler == ORDINAL
        self._open: set[EngineKey] = set()
        made = self._ordinal(seed, earlier, predicted) if sampler == ORDINAL else _optuna_sampler(sampler, seed)
        self._memory = InMemoryStorage()
        self._study = optuna.create_study(storage=self._memory, directions=[StudyDirection[item.name] for item in directions], sampler=made)
        self._random = random.Random(seed)  # noqa: S311  # no secret: a search must be repeatable
        self._left = list(space.configurations)  # known ones at its end are dropped: what is known stays known
        self._running: dict[Configuration, Trial] = {}
        self._results: dict[Configuration, tuple[tuple[float, ...] | None, dict[str, float]]] = {}

    def known(self, configuration: Configuration) -> bool:
        """Whether it was proposed or told."""
        return configuration in self._running or configuration in self._results

    @property
    def exhausted(self) -> bool:
        while self._left and self.known(self._left[-1]):
            self._left.pop()
        return not self._left

    def tell(self, configuration: Configuration, values: Sequence[float] | None, constraints: Mapping[str, float]) -> None:
        """A result, or None for a failed trial; also of configurations that were not proposed here. Telling twice changes nothing."""
        if configuration in self._results:
            return
        self._results[configuration] = (tuple(values) if values is not None else None, dict(constraints))
        trial = self._running.pop(configuration, None) or self._ask(configuration.params)
        self._finish(trial, configuration)

    def propose(self, count: int, running: EngineKey | None = None) -> list[Configuration]:
        """Up to `count` new configurations, fewer where the space is exhausted.

        `running`: page size and cold factors of the running engine. A proposal of others costs an engine start on top of its measurement.
        Our own sampler weighs what it expects to gain against these seconds. Optuna's samplers cannot, so every other proposal of theirs is
        fixed to the running engine while that has configurations left.
        """
        chosen: list[Configuration] = []
        self._open = {running} if running is not None else set()
        while len(chosen) < count and not self.exhausted:
            reuse = not self._costs_known and len(chosen) % 2 == 0 and running is not None and self._has_new(running)
            chosen.append(self._next(running if reuse else None))
            self._open.add(chosen[-1].engine)  # its engine will be started anyway
        return chosen

    def hold(self, configurations: Iterable[Configuration]) -> None:
        """Configurations that will be measured although they were not proposed (the baseline, the other arm)."""
        for configuration in configurations:
            if not self.known(configuration):
                self._running[configuration] = self._ask(configuration.params)

    def _next(self, engine: EngineKey | None) -> Configuration:
        fixed = {} if engine is None else {"block_size": engine[0], **dict(engine[1])}
        for _ in range(_MAX_REPEATS):
            trial = self._ask(fixed)
            configuration = self._space.canonical(Configuration.from_params(trial.params))
            if configuration in self._space and not self.known(configuration):
                self._running[configuration] = trial
                return configuration
            self._finish(trial, configuration)
        open_points = [item for item in self._space.configurations if not self.known(item)]
        within = [item for item in open_points if engine in (None, item.engine)]
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
        for name, value in constraints.items():
            trial.set_constraint(name, value)
        state, told = (TrialState.FAIL, None) if values is None else (TrialState.COMPLETE, list(values))
        if self._costs_known:  # ours learns when it is asked: `tell` would copy the trial with all its choices to tell it
            self._memory.set_trial_state_values(trial._trial_id, state, told)
        else:
            self._study.tell(trial, told, state)

    def _has_new(self, engine: EngineKey) -> bool:
        return any(not self.known(item) for item in self._space.group(engine))

    def _ordinal(self, seed: int, earlier: Sequence[Sequence[Observation]], predicted: Sequence[Observation]) -> BaseSampler:
        return OrdinalGpSampler(
            self._distributions,
            seed=seed,
            configurations=[item.params for item in self._space.configurations],
            cost_s=self._seconds if self._costs is not None else None,
            cost_depends_on=("block_size", *(name for name in self._space.factors if name not in LIVE_FACTORS)),
            earlier=[self._trials(study) for study in earlier],
            predicted=self._trials(predicted),
        )

    def _seconds(self, params: Params) -> float:
        assert self._costs is not None
        known = self._costs()
        return max(known.measure_s, _LEAST_S) + (0.0 if Configuration.from_params(params).engine in self._open else known.start_s)

    def _trials(self, known: Sequence[Observation]) -> list[FrozenTrial]:
        return [self._frozen(item) for item in known if item.configuration in self._space]

    def _frozen(self, item: Observation) -> FrozenTrial:
        return create_trial(
            params=dict(item.configuration.params),
            distributions=self._distributions,
            state=TrialState.FAIL if item.values is None else TrialState.COMPLETE,
            values=item.values,
            constraints=dict(item.constraints),
        )


def _optuna_sampler(name: str, seed: int) -> BaseSampler:
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
