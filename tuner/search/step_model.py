"""How long a step takes on the device of a search, so that its configurations can be simulated: where that is known from.

In this order: a file of the user's (--step-time); the stored windows of earlier studies of this model on this device, whatever their
workload; on a TPU, public measurements of its generation. Another device's times are never taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from storage.base import Storage
from storage.records import Environment, Json, Study, StudyState, Trial
from tuner.core.errors import BadInput
from tuner.core.factors import further
from tuner.engine.environment import cpu_name, resolve_platform
from tuner.engine.step_costs import StepCosts
from tuner.foresight.engine_windows import step_costs_of, window_table
from tuner.foresight.prediction import StepTimeError
from tuner.foresight.simulated_chip import SimulatedChip, simulated_chip
from tuner.foresight.step_cost_file import read_step_costs
from tuner.foresight.step_time import Measured, kinds_left_out
from tuner.setup.hardware import hardware_of
from tuner.setup.stored_study import was_launched_by
from tuner.setup.study_setup import StudySetup

FEWEST = 4  # configurations with steps: the fit has four weights
_SEEN = 50  # newest studies that are looked at
_STUDIES = 5  # that steps are taken from
_MATTER = ("dtype", "load_format", "attention_backend", "kv_write", "tensor_parallel_size", "async_scheduling", "extra_engine_args", "env")


@dataclass(frozen=True)
class StepModel:
    """`chip` has the pages and the costs of a step, without noise."""

    chip: SimulatedChip
    error: StepTimeError


def find_step_model(setup: StudySetup, storage: Storage | None) -> StepModel | str:
    """The step times of this search's device, or why there are none. Raises BadInput for a --step-time that cannot be read."""
    if setup.config.step_time is not None:
        costs = read_step_costs(Path(setup.config.step_time).expanduser())
        return _given(setup, costs, "its file says so", None)
    table = [] if storage is None else _stored_steps(setup, storage)
    if len(table) >= FEWEST:
        windows = sum(len(item.seconds) for item in table)
        return model_of(setup, table, f"fitted on {windows} windows of {len(table)} configurations measured on this device")
    if setup.limits is None:
        return f"no earlier study of this model on this device has steps of {FEWEST} configurations, and no --step-time is given"
    try:
        chip = simulated_chip(f"{setup.limits.name.removeprefix('TPU ')}-{setup.config.tensor_parallel_size}", None, None)
        costs = chip.costs(setup.group_engine(setup.space.page_sizes[0]), setup.model.features)
    except BadInput as error:
        return str(error)
    return StepModel(chip, StepTimeError(chip.source, costs.low, costs.high, "ranges of tokens left out in turn", None))


def model_of(setup: StudySetup, table: Sequence[Measured], about: str) -> StepModel:
    """Fitted on the mean steps of configurations, at least two, with the error of each left out in turn."""
    errors = [np.abs(1 / fold.ratios - 1) for fold in kinds_left_out(table) if fold.ratios is not None]
    return _given(setup, step_costs_of(table, about), "each configuration left out in turn", float(np.median(np.concatenate(errors))))


def _given(setup: StudySetup, costs: StepCosts, held_out: str, error: float | None) -> StepModel:
    quiet = replace(costs, step_noise=(), window_noise=())
    chip = SimulatedChip("engine", setup.limits, setup.config.tensor_parallel_size, None, quiet)
    return StepModel(chip, StepTimeError(costs.about, costs.low, costs.high, held_out, error))


def _stored_steps(setup: StudySetup, storage: Storage) -> list[Measured]:
    """The mean steps of the valid windows of earlier studies, one item a configuration."""
    ours = _device_of(setup)
    wanted = {name: getattr(setup.engine, name) for name in _MATTER}
    windows: list[tuple[str, Mapping[str, float]]] = []
    studies = 0
    for study in storage.list_studies(model=setup.config.model, limit=_SEEN):
        found = _windows_of(storage, study, ours, wanted) if _counts(setup, study) else []
        windows += found
        studies += bool(found)
        if studies == _STUDIES:
            break
    return window_table(windows)


def _counts(setup: StudySetup, study: Study) -> bool:
    """Only the local launcher sees the engine's steps."""
    return study.name != setup.config.study and study.state is not StudyState.RUNNING and was_launched_by(study, "local")


def _windows_of(storage: Storage, study: Study, ours: Callable[[Environment], bool], wanted: Json) -> list[tuple[str, Mapping[str, float]]]:
    trials = {trial.id: trial for trial in storage.list_trials(study.id) if trial.environment and _same(trial, wanted)}
    here = {name: ours(storage.get_environment(name)) for name in {str(trial.environment) for trial in trials.values()}}
    if not any(here.values()):
        return []
    return [
        (f"{trial.block_size} {trial.max_num_batched_tokens} {trial.arm} {trial.workload_hash}{further(trial.factors)}", item.metrics)
        for item in storage.list_measurements(study_id=study.id)
        if item.valid and (trial := trials.get(item.trial_id)) is not None and here[str(trial.environment)]
    ]


def _same(trial: Trial, wanted: Json) -> bool:
    """Whether its engine computes a step as this search's does. What an older version did not store had the default."""
    requested: Mapping[str, Any] = trial.requested
    return all(requested.get(name, value) == value for name, value in wanted.items())


def _device_of(setup: StudySetup) -> Callable[[Environment], bool]:
    """Whether an environment is this search's device. (A GPU's name is known only once an engine runs.)"""
    if setup.limits is not None:
        name = setup.limits.name
        return lambda environment: hardware_of(environment.accelerator).name == name
    here = cpu_name() if setup.config.launcher != "ray" and resolve_platform(setup.config.platform) == "cpu" else None
    return lambda environment: environment.accelerator == here
