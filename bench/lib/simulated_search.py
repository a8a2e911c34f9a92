"""A search without an engine: policies, order of rounds, drift rule and comparison are those that a search runs, the windows simulated.

12 cells in 4 engines (engine = page size, 3 chunk budgets, 2 arms), as a grid measures them with the default settings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.lib.noise import Noise
from storage.records import Measurement, Trial, TrialState
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.metrics.catalog import metric_info
from tuner.setup.space import Configuration
from tuner.stats.drift import detect_drift
from tuner.stats.sequential import InterimPlan
from tuner.trials.rounds import RoundHistory, configurations_in_order, round_policy
from tuner.verdict.compare import StudyComparison, compare_study

METRIC = "total_token_throughput"
PAGES, BUDGETS = (16, 32, 64, 128), (512, 1024, 2048)
ARMS = (ARM_DEFAULT, ARM_PAGE_ALIGNED)
RIVALS = len(PAGES) * len(BUDGETS) * len(ARMS)
TYPICAL = 1000.0
type Cell = tuple[int, int]


@dataclass(frozen=True)
class Machine:
    """`noise` of the windows (bench.lib.noise). `positions`: log of what each position in a round adds; `second`: what a window adds that
    follows the other arm's."""

    noise: Noise
    positions: tuple[float, ...] = ()
    second: float = 0.0


def simulated_study(
    rng: np.random.Generator, machine: Machine, effects: Mapping[Cell, float], first: int, last: int
) -> tuple[StudyComparison, int]:
    """(the comparison that the search ends with, windows measured). `effects`: cell -> log-ratio of its typical windows; 0 where absent."""
    trials: list[Trial] = []
    measurements: list[Measurement] = []
    seed = str(int(rng.integers(2**32)))
    for page in PAGES:
        engine = _measured(rng, machine, effects, page, (first, last), f"{seed}/search/{page}")
        for configuration, windows in engine.items():
            trial = _trial(configuration, number=len(trials))
            trials.append(trial)
            measurements += [replace(window, trial_id=trial.id) for window in windows]
    comparison = compare_study(1, trials, measurements, [METRIC], plan=InterimPlan.between(first, last))
    return comparison, len(measurements)


def _measured(
    rng: np.random.Generator, machine: Machine, effects: Mapping[Cell, float], page: int, rounds: tuple[int, int], seed: str
) -> dict[Configuration, list[Measurement]]:
    """The windows of one engine, drifted rounds marked."""
    first, last = rounds
    everything = [Configuration(page, budget, arm) for budget in BUDGETS for arm in ARMS]
    table = machine.noise(rng, last * len(everything))
    policy = round_policy(first, last, everything[0])
    values: dict[Configuration, dict[int, float]] = {item: {} for item in everything}
    windows: dict[Configuration, list[Measurement]] = {item: [] for item in everything}
    direction = metric_info(METRIC).direction
    number = at = 0
    places: dict[Configuration, dict[int, int]] = {item: {} for item in everything}
    while wanted := policy.next_round(RoundHistory(tuple(everything), values, number, direction, rivals=RIVALS, positions=places)):
        order = configurations_in_order(wanted, seed, number)
        for position, item in enumerate(order):
            log = float(table[at, ARMS.index(item.arm)]) + _fixed(machine, effects, order, position)
            at += 1
            values[item][number] = TYPICAL * math.exp(log)
            places[item][number] = position
            windows[item].append(_window(number, position, values[item][number]))
        number += 1
    drifted = frozenset(detect_drift(values[everything[0]]).drifted_rounds)
    return {item: _marked(found, drifted) for item, found in windows.items()}


def _fixed(machine: Machine, effects: Mapping[Cell, float], order: Sequence[Configuration], position: int) -> float:
    item = order[position]
    log = effects.get(item.cell[:2], 0.0) if item.arm == ARM_PAGE_ALIGNED else 0.0
    if machine.positions:
        log += machine.positions[position % len(machine.positions)]
    if machine.second and position and order[position - 1] == item.twin:
        log += machine.second
    return log


def _marked(windows: Sequence[Measurement], drifted: frozenset[int]) -> list[Measurement]:
    if all(window.round in drifted for window in windows):
        return list(windows)
    return [replace(item, valid=False, invalid_reason="drifted") if item.round in drifted else item for item in windows]


def _window(number: int, position: int, value: float) -> Measurement:
    return Measurement(0, number, position, 0.0, 1.0, {METRIC: value}, details={"launcher": "simulated", "engine_start": 1})


def _trial(configuration: Configuration, number: int) -> Trial:
    return Trial(
        study_id=1,
        number=number,
        id=number + 1,
        arm=configuration.arm,
        block_size=configuration.block_size,
        max_num_batched_tokens=configuration.max_num_batched_tokens,
        requested={},
        workload_hash="simulated",
        environment="simulated",
        state=TrialState.COMPLETE,
    )
