"""What a search will do and about how long it will take. Everything that can be refused is refused here, before anything is started."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from storage.base import Storage
from storage.records import Json, Study, StudyState
from tuner.core.errors import BadInput
from tuner.core.factors import Factors, cold_factors
from tuner.search.opening import check_resumable, find_study
from tuner.search.prior import MOST
from tuner.search.proposer import check_sampler
from tuner.search.step_model import StepModel, find_step_model
from tuner.search.warm_start import AUTO, NONE, check_warm_start
from tuner.setup.config import ORDINAL, WITHOUT_AN_ENGINE, StudyConfig
from tuner.setup.factor_list import factors_json
from tuner.setup.space import Configuration
from tuner.setup.stored_study import was_launched_by
from tuner.setup.study_setup import StudySetup

# Assumed where no earlier study of the model tells better: measured on two CPU cores with the tiny model in November 2026 (an engine start
# with import, and a window of the demo workload with its part of the warm-up). Stated with every estimate made from them.
ASSUMED_START_S = 15.0
ASSUMED_WARM_UP_S = 3.0
ASSUMED_WINDOW_S = 1.5
LAUNCHERS_WITHOUT_LIVE_SETTINGS = frozenset({"serve"})
FINALISTS = 3  # the best, its opposite arm and the nearest to vLLM's defaults; another only where it ties or for a further objective


@dataclass(frozen=True)
class Costs:
    """Seconds for one engine start, one warm-up and one window; `source` says where they come from."""

    start_s: float = ASSUMED_START_S
    warm_up_s: float = ASSUMED_WARM_UP_S
    window_s: float = ASSUMED_WINDOW_S
    source: str = "assumed (2 CPU cores, tiny model); the first run on this machine will tell"


@dataclass(frozen=True)
class ColdGroup:
    """One engine: its page size, the budget it is compiled for, its cold factors, and how many configurations are measured inside it."""

    block_size: int
    compiled_max: int
    configurations: int
    factors: Factors = ()

    def to_json(self) -> Json:
        found: Json = {"block_size": self.block_size, "compiled_max": self.compiled_max, "configurations": self.configurations}
        return {**found, "factors": dict(self.factors)} if self.factors else found


@dataclass(frozen=True)
class SearchPlan:
    """What the whole search goes by, made once. `existing` is the study of that name in the database, None where it is to be begun, and
    `measured` how many windows it has. `trials` counts search trials; finalists come on top. `engine_starts` and `windows` include the
    finalists'. A sampler may choose fewer page sizes than there are; the plan counts all that it could need. `step_model`: what
    the sampler's prior is simulated with, or why there is none; None: nothing has a use for it.
    """

    setup: StudySetup
    existing: Study | None
    measured: int
    sampler: str
    groups: tuple[ColdGroup, ...]
    trials: int
    finalists: int
    engine_starts: int
    windows: int
    estimate_s: float
    costs: Costs
    step_model: StepModel | str | None = None

    @property
    def comparisons(self) -> int:
        """How many pairs of two levels, by default of the arms, it may come to."""
        space = self.setup.space
        return min(space.comparisons, math.ceil(self.trials / 2) if space.contrast.of_arms else self.trials)

    @property
    def foreseen(self) -> int:
        """How many configurations the sampler's prior predicts at most."""
        return min(len(self.setup.space.configurations), MOST) if isinstance(self.step_model, StepModel) else 0

    def to_json(self) -> Json:
        config, space = self.setup.config, self.setup.space
        return {
            "study": config.study,
            "sampler": self.sampler,
            "cold_groups": [group.to_json() for group in self.groups],
            **({"factors": factors_json(space)} if space.factors else {}),
            **({} if space.contrast.of_arms else {"compare": compare_json(self.setup)}),
            "cells": len(space.cells),
            "arms": list(space.arms),
            "trials": self.trials,
            "rounds": {"min": config.rounds.min, "max": config.rounds.max},
            "finalists": self.finalists,
            "engine_starts": self.engine_starts,
            "windows": self.windows,
            "estimate_s": round(self.estimate_s, 1),
            "time_budget_s": config.time_budget,
            "costs": vars(self.costs),
            "baseline": str(space.baseline),
            "vllm_defaults": {**asdict(space.own), "in_the_space": space.has_vllms_own},
            "workload": self.setup.workload.summary,
            "prior": self.prior_json(),
            "measured_windows": self.measured,
        }

    def prior_json(self) -> Json:
        """{"predicted": how many configurations, "step_times" or "reason" in words}."""
        if isinstance(self.step_model, StepModel):
            return {"predicted": self.foreseen, "step_times": self.step_model.error.sentence}
        return {"predicted": 0, "reason": self.step_model or "this search has no use for one"}


def plan_search(setup: StudySetup, storage: Storage | None = None, *, resume: bool = False) -> SearchPlan:
    """The plan, with the costs of earlier studies of this model in this database. `storage` None: the search will make the database.

    Raises BadInput, before anything is written or started, for a name that is taken, nothing to resume, a setting that differs from the
    study's, a sampler whose packages are missing, and an earlier study to begin with that cannot teach anything.
    """
    config = setup.config
    existing = None if storage is None else find_study(storage, config.study)
    check_resumable(setup, existing, resume=resume)
    measured = 0 if storage is None or existing is None else storage.count_measurements_of([existing.id])[existing.id]
    costs = _with_arrivals(setup, (None if storage is None else known_costs(storage, config)) or assumed_costs(config))
    plan = plan_at(setup, costs, existing=existing, measured=measured)
    check_sampler(plan.sampler)
    if config.launcher not in WITHOUT_AN_ENGINE:
        plan = _with_step_model(plan, storage)
    if not resume and config.warm_start not in (AUTO, NONE):
        check_warm_start(setup, storage, plan.sampler)
    return plan


def _with_step_model(plan: SearchPlan, storage: Storage | None) -> SearchPlan:
    """With what the sampler's prior is simulated with. Raises BadInput for a --step-time that nothing has a use for."""
    config = plan.setup.config
    wanted = plan.sampler == ORDINAL and config.foresight is not False
    cold = cold_factors(plan.setup.space.configurations[0].factors)
    if wanted and cold:
        return replace(plan, step_model=f"nothing is known of what {cold[0][0]} does to a step")
    if wanted:
        return replace(plan, step_model=find_step_model(plan.setup, storage))
    if config.step_time is not None:
        why = f"sampler {plan.sampler} has no use for predictions" if config.foresight is not False else "--no-foresight predicts nothing"
        raise BadInput(why, setting="step_time", value=f"{config.step_time}:", fix="drop --step-time, or let --sampler ordinal use it")
    return plan


def plan_at(setup: StudySetup, costs: Costs, *, existing: Study | None = None, measured: int = 0) -> SearchPlan:
    """The plan where things cost so much."""
    space, config = setup.space, setup.config
    sampler = choose_sampler(setup, costs)
    trials = len(space.configurations) if config.trials is None else min(config.trials, len(space.configurations))
    chosen = space.configurations[:trials] if sampler == "grid" else space.configurations
    groups = _groups(setup, chosen)[:trials]
    finalists = min(finalists_of(setup), trials)
    starts = setup.starts_of_an_engine
    seconds = _seconds(setup, len(groups), trials, costs)
    return SearchPlan(
        setup=setup,
        existing=existing,
        measured=measured,
        sampler=sampler,
        groups=groups,
        trials=trials,
        finalists=finalists,
        engine_starts=starts * len(groups) + finalists,
        windows=trials * setup.windows_at_most + finalists * config.rounds.of_a_finalist,
        estimate_s=seconds if config.time_budget is None else min(seconds, config.time_budget),
        costs=costs,
    )


def _with_arrivals(setup: StudySetup, costs: Costs) -> Costs:
    """An open loop's window and warm-up last at least until the last arrival, whatever other studies took."""
    last_s = 0.0 if setup.config.launcher in WITHOUT_AN_ENGINE else setup.plan.last_arrival_s
    return replace(costs, warm_up_s=max(costs.warm_up_s, last_s), window_s=max(costs.window_s, last_s))


def finalists_of(setup: StudySetup) -> int:
    """How many configurations are started cold at the end, as a rule."""
    both = not setup.space.contrast.of_arms and len(setup.space.arms) > 1  # an opposite arm and an opposite level
    return FINALISTS + both + len(setup.objectives) - 1


def assumed_costs(config: StudyConfig) -> Costs:
    """Where no earlier study tells. Seconds of tables and simulations pass on a clock of their own."""
    if config.launcher == "table":
        return Costs(0.0, 0.0, 0.0, "a table answers at once")
    if config.launcher == "simulate":
        return Costs(ASSUMED_START_S, 0.0, ASSUMED_WINDOW_S, "assumed for a simulation; the first run on this machine will tell")
    return Costs()


def choose_sampler(setup: StudySetup, costs: Costs) -> str:
    """`auto`: the whole grid where it can be measured within the number of trials and the time budget, else our own sampler."""
    config = setup.config
    if setup.space.contrast.cold:
        return "grid"
    if config.sampler != "auto":
        return config.sampler
    everything = setup.space.configurations
    if config.trials is not None and config.trials < len(everything):
        return ORDINAL
    seconds = _seconds(setup, len(_groups(setup, everything)), len(everything), costs)
    return "grid" if config.time_budget is None or seconds <= config.time_budget else ORDINAL


def _seconds(setup: StudySetup, starts: int, trials: int, costs: Costs) -> float:
    """What `trials` trials in `starts` engines and then the finalists take, with as many rounds as is typical."""
    rounds, finalists = setup.config.rounds, min(finalists_of(setup), trials)
    cold, again = setup.space.contrast.cold, setup.starts_of_an_engine
    windows = trials * (setup.windows_at_most if cold else rounds.typical) + finalists * rounds.of_a_finalist
    return (again * starts + finalists) * costs.start_s + (again * trials + finalists) * costs.warm_up_s + windows * costs.window_s


def _groups(setup: StudySetup, chosen: Sequence[Configuration]) -> tuple[ColdGroup, ...]:
    """One engine for each page size, or for each configuration where the launcher has no live settings."""
    if setup.config.launcher in LAUNCHERS_WITHOUT_LIVE_SETTINGS:
        return tuple(ColdGroup(item.block_size, item.max_num_batched_tokens, 1, item.factors) for item in chosen)
    engines = Counter(item.engine for item in chosen)
    return tuple(ColdGroup(size, setup.space.compiled_max, count, factors) for (size, factors), count in engines.items())


def compare_json(setup: StudySetup) -> Json:
    """What is compared where that is not page alignment; `starts` of each engine, null where both sides share one."""
    contrast = setup.space.contrast
    return {
        "factor": contrast.name,
        "kind": "cold" if contrast.cold else "live",
        "baseline": contrast.baseline,
        "levels": setup.space.compared_levels,
        "starts": setup.config.starts if contrast.cold else None,
        "windows_per_start": setup.config.rounds.min if contrast.cold else None,
    }


def known_costs(storage: Storage, config: StudyConfig) -> Costs | None:
    """What earlier studies of this model with this launcher took; None where there is none."""
    found = storage.list_studies(model=config.model, limit=20)
    studies = [item for item in found if was_launched_by(item, config.launcher) and item.name != config.study][:5]
    ids = [study.id for study in studies]
    trials = {study_id: sum(counts.values()) for study_id, counts in storage.count_trials_of(ids).items()}
    return costs_from_studies(studies, storage.count_measurements_of(ids), trials)


def costs_from_studies(studies: Sequence[Study], windows: Mapping[int, int], trials: Mapping[int, int]) -> Costs | None:
    """Costs per start, trial and window of the newest completed study; None where none says enough.

    `windows` and `trials` are counts by study id.
    """
    for study in studies:
        measured, started = windows.get(study.id, 0), study.engine_starts
        if study.state is StudyState.COMPLETE and measured and started and trials.get(study.id):
            cost = {name: float(study.cost.get(name, 0.0)) for name in ("start", "warm_up", "measure")}
            if all(map(math.isfinite, cost.values())) and cost["measure"] > 0:
                return Costs(
                    cost["start"] / started, cost["warm_up"] / trials[study.id], cost["measure"] / measured, f"study {study.name!r}"
                )
    return None
