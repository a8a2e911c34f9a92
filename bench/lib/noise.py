"""What a machine does to windows, as rows of bench/null_and_power.py: simulated noise, and the real engine's own recorded residuals.

A `Noise` makes, for an engine's windows in the order of time, the log of each window's throughput over its typical one, [windows x 2]:
for the case that the window measures the default arm, and the aligned one. "Typical" is the median window: every row is centred there
unless it says otherwise, so that without an effect the two arms have the same typical window.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED

Array = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Array]
SD = 0.02  # of a window, unless a row says otherwise
BURST = math.log(0.7)
RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "noise"


def normal(rng: np.random.Generator, windows: int) -> Array:
    return SD * rng.standard_normal((windows, 2))


def autoregressive(rng: np.random.Generator, windows: int, memory: float = 0.8) -> Array:
    """AR(1) with standard deviation SD: each window keeps `memory` of the one before it."""
    steps = math.sqrt(1 - memory**2) * rng.standard_normal(windows)
    level, values = float(rng.standard_normal()), np.empty(windows)
    for window, step in enumerate(steps):
        values[window] = level = memory * level + step
    return SD * _same(values)


def heavy_tailed(rng: np.random.Generator, windows: int) -> Array:
    """Student's t with 2.5 degrees of freedom, its quartiles those of normal noise of standard deviation SD."""
    return SD * 0.6745 / 0.7916 * rng.standard_t(2.5, (windows, 2))


def bursts(rng: np.random.Generator, windows: int, probability: float = 0.1) -> Array:
    """One window in ten is 30 % slower."""
    return normal(rng, windows) + BURST * (rng.random((windows, 1)) < probability)


def bursts_in_runs(rng: np.random.Generator, windows: int) -> Array:
    """Some 15 % of the windows are 30 % slower, five in a row on average."""
    return normal(rng, windows) + BURST * _runs(rng, windows)[:, None]


def bursts_of_one_arm(rng: np.random.Generator, windows: int, probability: float = 0.1) -> Array:
    """One window in ten of the aligned arm is 30 % slower, none of the default's: the typical window is the same."""
    return normal(rng, windows) + BURST * (rng.random((windows, 1)) < probability) * [0.0, 1.0]


def runs_of_one_arm(rng: np.random.Generator, windows: int) -> Array:
    """bursts_in_runs that only the aligned arm feels."""
    return normal(rng, windows) + BURST * _runs(rng, windows)[:, None] * [0.0, 1.0]


def step(rng: np.random.Generator, windows: int) -> Array:
    """From a moment in the first half of an engine's windows on the machine is 15 % slower."""
    return normal(rng, windows) + math.log(0.85) * _same(np.arange(windows) >= rng.integers(windows // 2))


def warm_up(windows_to_warm: int) -> Noise:
    """Each engine begins 15 % slow and warms up with this many windows as its time constant."""

    def noise(rng: np.random.Generator, windows: int) -> Array:
        cold = -0.15 * np.exp(-np.arange(windows) / windows_to_warm)
        return normal(rng, windows) + _same(cold)

    return noise


def unequal(rng: np.random.Generator, windows: int) -> Array:
    """The aligned arm has three times the standard deviation of the other."""
    return normal(rng, windows) * [0.5, 1.5]


def skewed_arm(rng: np.random.Generator, windows: int) -> Array:
    """The aligned arm has exponential noise of the standard deviation that the other's normal noise has: same median."""
    slow = math.log(2) - rng.exponential(1.0, windows)
    return SD * np.stack([rng.standard_normal(windows), slow], axis=1)


def skewed_arm_same_mean(rng: np.random.Generator, windows: int) -> Array:
    """The same with equal means: the typical window of the aligned arm is 0.6 % better, its slow ones are slower."""
    return skewed_arm(rng, windows) + SD * np.array([0.0, 1 - math.log(2)])


def every_seventh(rng: np.random.Generator, windows: int) -> Array:
    """Every seventh window is 30 % slower, counted from a random one."""
    hit = (np.arange(windows) + int(rng.integers(7))) % 7 == 0
    return 0.5 * normal(rng, windows) + BURST * _same(hit)


def recorded(name: str) -> Noise:
    """Stretches of log-residuals of the real engine's windows, in the order of time, each of at most one engine's windows. Raises
    FileNotFoundError where the recording is not beside this checkout."""
    residuals = _residuals(RECORDED / f"engine_windows_{name}.csv")

    def noise(rng: np.random.Generator, windows: int) -> Array:
        places = (int(rng.integers(len(residuals))) + np.arange(windows)) % len(residuals)
        return _same(residuals[places])

    return noise


def _residuals(path: Path) -> Array:
    """[windows] log(throughput / the configuration's median), of the two arms that are compared, in the order of time."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] in (ARM_DEFAULT, ARM_PAGE_ALIGNED)]
    rows.sort(key=lambda row: float(row["started_s"]))
    names = np.array([f"{row['block_size']}/{row['max_num_batched_tokens']}/{row['arm']}" for row in rows])
    logs = np.log([float(row["total_token_throughput"]) for row in rows])
    for name in np.unique(names):
        logs[names == name] -= np.median(logs[names == name])
    return np.asarray(logs)


def _runs(rng: np.random.Generator, windows: int, length: float = 5.0, fraction: float = 0.15) -> NDArray[np.bool_]:
    """[windows] whether a window is in a run of geometric `length`; `fraction` of all are."""
    quiet, inside = rng.geometric((fraction / (1 - fraction)) / length, windows), rng.geometric(1 / length, windows)
    ends = np.stack([quiet, inside], axis=1).ravel().cumsum()
    return np.asarray(np.searchsorted(ends, np.arange(windows) + int(rng.integers(60)), side="right") % 2 == 1)


def _same(values: NDArray[np.generic]) -> Array:
    """[windows x 2] whichever arm is measured."""
    return np.repeat(np.asarray(values, dtype=float)[:, None], 2, axis=1)
