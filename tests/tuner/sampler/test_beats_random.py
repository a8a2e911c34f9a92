"""Candidate against baseline over repeats, on a known surface with seeded noise (the habit of Google Vizier's comparator tests)."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler

from tuner.sampler.ordinal_gp import OrdinalGpSampler

SPACE: dict[str, BaseDistribution] = {
    "page": CategoricalDistribution((16, 32, 64, 128, 256)),
    "budget": CategoricalDistribution((128, 256, 512, 1024, 2048, 4096)),
    "seqs": IntDistribution(1, 8),
    "arm": CategoricalDistribution(("default", "aligned")),
}
REPEATS = 8
TRIALS = 25


def surface(params: dict[str, int | str]) -> float:
    """A ridge along page and budget, saturation in seqs, and an arm that helps large pages only; best value about 1."""
    page, budget, seqs = np.log2(float(params["page"]) / 16), np.log2(float(params["budget"]) / 128), float(params["seqs"])
    arm = 0.05 * (page - 2) if params["arm"] == "aligned" else 0.0
    return float(np.exp(-0.15 * (budget - 1 - 0.7 * page) ** 2) * (1 - np.exp(-seqs / 2)) - 0.015 * seqs + arm)


def regret(sampler: BaseSampler, seed: int, noise: float) -> float:
    """How far the true value of the best measured configuration is below the best of all."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.default_rng([seed, 1])
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(TRIALS):
        trial = study.ask(SPACE)
        study.tell(trial, surface(trial.params) * float(rng.lognormal(0, noise)))
    best = max(
        surface({"page": page, "budget": budget, "seqs": seqs, "arm": arm})
        for page in (16, 32, 64, 128, 256)
        for budget in (128, 256, 512, 1024, 2048, 4096)
        for seqs in range(1, 9)
        for arm in ("default", "aligned")
    )
    return best - surface(study.best_trial.params)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_ours_beats_random_over_repeats(noise: float) -> None:
    ours = [regret(OrdinalGpSampler(SPACE, seed=seed), seed, noise) for seed in range(REPEATS)]
    random = [regret(RandomSampler(seed=seed), seed, noise) for seed in range(REPEATS)]
    assert fmean(ours) < 0.5 * fmean(random)
    assert sum(mine < theirs for mine, theirs in zip(ours, random, strict=True)) >= REPEATS * 3 / 4
