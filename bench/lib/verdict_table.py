"""The verdicts of simulated searches under each noise of bench.lib.noise: wrong ones where nothing differs, effects found where all do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.lib import noise
from bench.lib.simulated_search import BUDGETS, PAGES, Machine, simulated_study
from tuner.stats.intervals import ERROR_RATE, Verdict

WRONG = (Verdict.BETTER, Verdict.WORSE)
LONG, SHORT = (3, 24), (3, 6)  # rounds: the default, and few
CELLS = [(page, budget) for page in PAGES for budget in BUDGETS]
SEED = 19878


@dataclass(frozen=True)
class Row:
    """`before`: the percentages that commit 233e6b5 (November 2026) found in the same simulator, by effect; `bars`: the percentages that
    must be found. `null`: whether the typical windows are the same, so that a cell called different is wrong."""

    name: str
    machine: Machine
    before: dict[float, float]
    bars: dict[float, float]
    null: bool = True


def rows() -> tuple[list[Row], list[str]]:
    """(the rows, why one is left out)."""
    positions = (-0.05, 0.03, 0.0, 0.0, 0.02, -0.03)
    machines = {
        "normal, 2 %": Machine(noise.normal),
        "AR(1), 0.8": Machine(noise.autoregressive),
        "t, 2.5 df": Machine(noise.heavy_tailed),
        "bursts": Machine(noise.bursts),
        "bursts in runs": Machine(noise.bursts_in_runs),
        "bursts, one arm": Machine(noise.bursts_of_one_arm),
        "runs, one arm": Machine(noise.runs_of_one_arm),
        "every 7th window": Machine(noise.every_seventh),
        "step of -15 %": Machine(noise.step),
        "warm-up, 12": Machine(noise.warm_up(12)),
        "warm-up, 60": Machine(noise.warm_up(60)),
        "unequal arms": Machine(noise.unequal),
        "skew, one arm": Machine(noise.skewed_arm),
        "skew, same mean": Machine(noise.skewed_arm_same_mean),
        "position": Machine(noise.normal, positions=positions),
        "second of a pair": Machine(noise.normal, second=math.log(0.97)),
    }
    left_out: list[str] = []
    for name in ("quiet", "loaded"):
        try:
            machines[f"recorded, {name}"] = Machine(noise.recorded(name))
        except FileNotFoundError as error:
            left_out.append(f"recorded, {name}: {error.filename} is not there")
    return [Row(name, machine, BEFORE.get(name, {}), BARS.get(name, {}), name != SAME_MEAN) for name, machine in machines.items()], left_out


SAME_MEAN = "skew, same mean"
BARS: dict[str, dict[float, float]] = {
    "normal, 2 %": {0.03: 95},
    "step of -15 %": {0.03: 90},
    "warm-up, 12": {0.03: 90},
    "warm-up, 60": {0.03: 90},
    "bursts": {0.05: 70, 0.10: 95},
    "recorded, quiet": {0.05: 70, 0.10: 95},
}
BEFORE: dict[str, dict[float, float]] = {
    "normal, 2 %": {0.03: 90.3, 0.05: 91.5, 0.10: 94.9},
    "AR(1), 0.8": {0.03: 80.3, 0.05: 84.7, 0.10: 97.6},
    "t, 2.5 df": {0.03: 56.1, 0.05: 85.1, 0.10: 91.8},
    "bursts": {0.03: 2.1, 0.05: 13.2, 0.10: 48.4},
    "bursts in runs": {0.03: 13.5, 0.05: 36.0, 0.10: 53.4},
    "bursts, one arm": {0.03: 8.0, 0.05: 26.0, 0.10: 61.7},
    "runs, one arm": {0.03: 7.0, 0.05: 29.2, 0.10: 52.8},
    "every 7th window": {0.03: 3.7, 0.05: 11.8, 0.10: 32.8},
    "step of -15 %": {0.03: 11.4, 0.05: 32.0, 0.10: 57.4},
    "warm-up, 12": {0.03: 3.9, 0.05: 6.6, 0.10: 38.4},
    "warm-up, 60": {0.03: 1.3, 0.05: 14.6, 0.10: 64.0},
    "unequal arms": {0.03: 90.0, 0.05: 97.0, 0.10: 96.1},
    "skew, one arm": {0.03: 80.8, 0.05: 91.4, 0.10: 92.6},
    "skew, same mean": {0.03: 90.0, 0.05: 94.9, 0.10: 93.9},
    "second of a pair": {0.03: 58.6, 0.05: 87.9, 0.10: 93.4},
    "recorded, quiet": {0.03: 3.2, 0.05: 26.4, 0.10: 61.0},
    "recorded, loaded": {0.03: 1.7, 0.05: 13.7, 0.10: 45.9},
    "position": {0.03: 6.1, 0.05: 63.3, 0.10: 89.5},
}


@dataclass(frozen=True)
class Count:
    """`wrong` of `studies` have a cell whose verdict is wrong; `found`: fraction of the cells that are better; `rounds`: of a cell."""

    studies: int
    wrong: int
    found: float
    rounds: float

    @property
    def wrong_interval(self) -> tuple[float, float]:
        """95 % interval of the fraction of studies (Wilson 1927)."""
        z, p = 1.96, self.wrong / self.studies
        centre = (p + z**2 / (2 * self.studies)) / (1 + z**2 / self.studies)
        half = z * math.sqrt(p * (1 - p) / self.studies + z**2 / (4 * self.studies**2)) / (1 + z**2 / self.studies)
        return max(0.0, centre - half), centre + half

    @property
    def rare(self) -> bool:
        """Whether wrong studies may be as rare as ERROR_RATE, for all that so many studies tell."""
        return self.wrong_interval[0] <= ERROR_RATE

    def reaches(self, percent: float) -> bool:
        """Whether `found` may be that many percent, up to two standard errors of the cells that were simulated, taken as independent."""
        bar = percent / 100
        return self.found >= bar - 2 * math.sqrt(bar * (1 - bar) / (self.studies * len(CELLS)))


def count(machine: Machine, effect: float, rounds: tuple[int, int], studies: int) -> Count:
    """`effect`: of the typical window, as a fraction, in all cells."""
    rng = np.random.default_rng([SEED, *rounds, round(1000 * effect)])
    effects = dict.fromkeys(CELLS, math.log(1 + effect))
    bad = WRONG if effect == 0 else (Verdict.WORSE,)
    wrong = found = windows = 0
    for _ in range(studies):
        comparison, measured = simulated_study(rng, machine, effects, *rounds)
        verdicts = [item.verdict for item in comparison.comparisons]
        wrong += any(verdict in bad for verdict in verdicts)
        found += verdicts.count(Verdict.BETTER)
        windows += measured
    return Count(studies, wrong, found / (studies * len(CELLS)), windows / (studies * len(CELLS) * 2))
