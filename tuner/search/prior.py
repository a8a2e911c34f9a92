"""Foresight as the sampler's prior: a search's configurations, simulated before they are measured.

vLLM's real scheduler plays the search's own requests under the step times of tuner.search.step_model. What comes of it enters the sampler
as one more source beside earlier studies (tuner.search.warm_start): on one scale with what is measured, its noise learnt from that, and
dropped where it contradicts that. Predictions are kept as what was foreseen; none of them becomes a trial, a value or a part of a verdict.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

from storage.base import Storage
from storage.records import Environment, ForesightAnswer, Json
from tuner.core.errors import BadInput, TrialFailed
from tuner.core.factors import factors_of, in_arm
from tuner.engine.wire_fields import to_fields
from tuner.foresight.prediction import METRICS, Prediction, Span, as_stored, configuration_question, family_of, readable
from tuner.foresight.question import key_of
from tuner.foresight.questions import model_hash
from tuner.launchers.simulate import SimulatedSession, SimulateLauncher
from tuner.metrics.window import window_metrics
from tuner.search.proposer import Observation
from tuner.search.step_model import StepModel
from tuner.serving.vllm_args import served_config, vllm_environment, vllm_flags
from tuner.setup.space import Configuration
from tuner.setup.study_setup import StudySetup
from tuner.verdict.changes import changes_of

MOST = 200  # configurations: more would cost the sampler more than they teach it
MOST_S = 600.0  # of simulating; what is left then has no prediction
_FOREVER_S = 1e9  # of a window's own time: an overloaded one is a value, too
_FORMAT = 1  # of what a prediction means


class SimulatedPrior:
    """Owns nothing between two calls. `now`: seconds."""

    def __init__(self, model: StepModel, log_dir: Path, python: str | None, *, now: Callable[[], float] = time.monotonic) -> None:
        self.model = model
        self._log_dir = log_dir
        self._python = python
        self._now = now

    def predict(self, setup: StudySetup, storage: Storage, environment: Environment, say: Callable[[str], None]) -> list[ForesightAnswer]:
        """Of the search's configurations, at most MOST and for at most MOST_S: what is stored already, and the rest simulated and stored.
        `environment`: that the search measures in. What cannot be simulated is left out, and `say` is told why."""
        family = self._family(setup, environment)
        questions = {item: configuration_question(family, *item.cell[:2], item.arm, item.factors) for item in _chosen(setup)}
        keys = {item: key_of(question) for item, question in questions.items()}
        stored = storage.find_foresight(list(keys.values()))
        missing = {item: question for item, question in questions.items() if keys[item] not in stored}
        made = [
            as_stored(
                found,
                missing[item],
                model=setup.config.model,
                accelerator=environment.accelerator,
                device_count=environment.device_count,
            )
            for item, found in self._simulated(setup, environment, list(missing), family_of(family), say)
        ]
        storage.put_foresight(made)
        found = {**stored, **{item.key: item for item in made}}
        return [found[key] for key in keys.values() if key in found]

    def _family(self, setup: StudySetup, environment: Environment) -> Json:
        """All that predictions depend on, but for the configuration."""
        engine = {name: value for name, value in asdict(setup.engine).items() if name not in ("model", "model_path", "block_size", "env")}
        return {
            "format": _FORMAT,
            "versions": dict(environment.versions),
            "accelerator": environment.accelerator,
            "model": model_hash(setup.model),
            "engine": engine,  # compiled for the largest budget
            "step_times": to_fields(self.model.error),
            "costs": to_fields(self.model.chip.costs(setup.group_engine(setup.space.page_sizes[0]), setup.model.features)),
            "workload": setup.workload.content_hash,
            "limits": [str(limit) for limit in setup.request_limits],
            "metrics": list(_metrics(setup)),
        }

    def _simulated(
        self, setup: StudySetup, environment: Environment, wanted: Sequence[Configuration], family: str, say: Callable[[str], None]
    ) -> Iterator[tuple[Configuration, Prediction]]:
        begun = self._now()
        by_page = groupby(sorted(wanted, key=lambda item: item.block_size), key=lambda item: item.block_size)
        with closing(SimulateLauncher(self.model.chip, log_dir=self._log_dir, python=self._python, seed=setup.config.seed)) as launcher:
            for block_size, configurations in by_page:
                if setup.infeasible(setup.group_engine(block_size)):
                    continue
                try:
                    session = launcher.open_for(setup.group_engine(block_size), setup.model.features, setup.config.engine_start_timeout)
                    with closing(session):
                        for item in configurations:
                            if self._now() - begun > MOST_S:
                                say(f"prior: simulating took more than {MOST_S:.0f} s; the other configurations have no prediction")
                                return
                            metrics = _metrics_of(session, setup, item)
                            if metrics is not None:
                                yield item, self._prediction(setup, environment, item, family, metrics)
                except TrialFailed as error:  # this page size does not fit, or its simulation was lost
                    say(f"prior: page size {block_size} has no prediction: {error}")
                except BadInput as error:
                    say(f"prior: nothing is predicted: {error}")
                    return

    def _prediction(
        self, setup: StudySetup, environment: Environment, item: Configuration, family: str, metrics: dict[str, Span]
    ) -> Prediction:
        platform = environment.platform
        settings = setup.cold_engine(item)
        config = served_config(settings, item.arm, platform)
        own = setup.space.own
        defaults = {"block_size": own.block_size, "max_num_batched_tokens": own.max_num_batched_tokens, **setup.space.own_levels}
        return Prediction(
            block_size=item.block_size,
            max_num_batched_tokens=item.max_num_batched_tokens,
            arm=item.arm,
            metrics=metrics,
            step_times=self.model.error,
            workload_hash=setup.workload.content_hash,
            workload_name=setup.workload.name,
            request_rate=None,
            limits=tuple(str(slo) for slo in setup.slos),
            config=config,
            vllm_args=tuple(vllm_flags(config)),
            env=vllm_environment(settings, platform),
            changes=tuple(dict(change) for change in changes_of(in_arm(item.arm, item.cell), defaults)),
            versions=dict(environment.versions),
            family=family,
            factors=dict(item.factors),
        )


def observations(setup: StudySetup, predicted: Iterable[ForesightAnswer]) -> list[Observation]:
    """What the sampler is told: values and constraints by this search's objectives and SLOs, of its own configurations only."""
    found = []
    for _, item in readable(list(predicted)):
        configuration = Configuration(item.block_size, item.max_num_batched_tokens, item.arm, factors_of(item.factors))
        values = {name: span.value for name, span in item.metrics.items()}
        wanted = [*(objective.metric for objective in setup.objectives), *(slo.metric for slo in setup.slos)]
        if configuration in setup.space and all(name in values for name in wanted):
            constraints = {str(slo): slo.constraint(values[slo.metric]) for slo in setup.slos}
            found.append(Observation(configuration, tuple(values[item.metric] for item in setup.objectives), constraints))
    return found


def _metrics(setup: StudySetup) -> tuple[str, ...]:
    asked = [*(objective.metric for objective in setup.objectives), *(slo.metric for slo in setup.slos)]
    return tuple(dict.fromkeys([*asked, *METRICS]))


def _metrics_of(session: SimulatedSession, setup: StudySetup, item: Configuration) -> dict[str, Span] | None:
    """Of three windows: steps as predicted, as quick and as slow as their interval allows. None where nothing can be computed from one.
    Raises TrialFailed where the simulation is lost."""
    plan = replace(setup.plan, stop_when_saturated=False)
    windows = []
    for factor in dict.fromkeys((1.0, session.costs.low, session.costs.high)):
        window = session.simulate(item.live, plan, _FOREVER_S, seed=(0,), costs=factor)
        try:
            windows.append(window_metrics(window, limits=setup.request_limits, open_loop=setup.open_loop))
        except TrialFailed:
            return None
    ends = {name: [window[name] for window in windows] for name in _metrics(setup) if all(name in window for window in windows)}
    return {name: Span(values[0], min(values), max(values)) for name, values in ends.items()}


def _chosen(setup: StudySetup) -> list[Configuration]:
    """All configurations, or MOST of them in whole cells, drawn by the seed."""
    cells = list(setup.space.cells)
    most = MOST // len(setup.space.arms)
    if len(cells) > most:
        cells = random.Random(setup.config.seed).sample(cells, most)  # noqa: S311  # no secret: a search must be repeatable
    kept = set(cells)
    return [item for item in setup.space.configurations if item.cell in kept]
