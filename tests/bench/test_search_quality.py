"""Warm starts on a measured table: what an earlier study is worth, and what a misleading one costs at most."""

from __future__ import annotations

import statistics

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, create_trial

from bench.search_quality import run_study
from tests.shared_data import shared_data
from tuner.launchers.measured_table import MeasuredTable, Noise
from tuner.launchers.table_files import load_table
from tuner.sampler.ordinal_gp import OrdinalGpSampler

SEEDS = range(9)
EARLIER = 40  # results of the earlier study, of 196 configurations
METRIC = "Throughput"


def earlier_study(table: MeasuredTable, seed: int, sign: float) -> list[FrozenTrial]:
    """Random configurations with 5 % noise, in another unit; `sign` -1 turns the order round."""
    rng = np.random.default_rng([seed, 7])
    found = []
    for index in rng.choice(len(table.configurations), EARLIER, replace=False).tolist():
        params = table.configurations[index].params
        value = table.evaluate(params, seed=index + seed * 10**6, noise=Noise("multiplicative", 0.05)).values[METRIC]
        found.append(create_trial(params=dict(params), distributions=table.distributions(), value=sign * 0.1 * value))
    return found


def median_trials(table: MeasuredTable, sign: float) -> float:
    """Trials to within 2 % of the best; sign 0: no earlier study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trials = []
    for seed in SEEDS:
        earlier = [earlier_study(table, seed, sign)] if sign else []
        sampler = OrdinalGpSampler(table.distributions(), seed=seed, contains=table.contains, earlier=earlier)
        trials.append(run_study(table, METRIC, sampler, seed, cap=196).trials)
    return statistics.median(trials)


@pytest.mark.slow
def test_an_earlier_study_saves_trials_and_a_misleading_one_costs_a_bounded_number() -> None:
    table = load_table(shared_data("search/moot/SS-D.csv"))
    cold, warm, misled = (median_trials(table, sign) for sign in (0, 1, -1))
    assert warm <= 0.5 * cold
    assert misled <= 3 * cold and misled < 0.5 * len(table.configurations)  # chance without repeats needs 102
