"""Step times of an engine that was measured, from what is stored with its windows: the mean step and the mean step's work. Pure.

A stored window does not keep its single steps. So the mean step of each window is one point, and its time is fitted as

    fixed + a x padded tokens + b x prefill tokens + c x decoding requests          (all of the mean step, a, b, c of 0 or more)

by the machinery of tuner.foresight.step_time: a configuration plays the part of a kind of operation, so that each in turn is predicted from
the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tuner.engine.step_costs import Point, StepCosts
from tuner.foresight.operations import STEP
from tuner.foresight.step_time import Fitted, Measured, fit_step_times

NEEDED = ("mean_step_ms", "scheduled_tokens_per_step", "padded_tokens_per_step", "prefill_tokens_per_step")
_LARGEST = 1 << 20  # tokens: two points make a line


def window_table(windows: Iterable[tuple[str, Mapping[str, float]]]) -> list[Measured]:
    """`windows`: (configuration, metrics of one window). Those without steps are left out."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for name, metrics in windows:
        if all(metrics.get(needed, 0.0) > 0 for needed in NEEDED[:3]):
            step_ms, scheduled, padded, prefill = (float(metrics.get(needed, 0.0)) for needed in NEEDED)
            found.setdefault(name, []).append((step_ms / 1000, padded, prefill, scheduled - prefill))
    return [_measured(name, rows) for name, rows in found.items()]


def _measured(name: str, rows: Sequence[tuple[float, float, float, float]]) -> Measured:
    table = np.array(rows)
    terms = np.concatenate([np.ones((len(rows), 1)), table[:, 1:]], axis=1)
    return Measured(kind=name, family=STEP, shape=(), tokens=table[:, 1], terms=terms, seconds=table[:, 0])


def step_costs_of(table: Sequence[Measured], about: str) -> StepCosts:
    """What a simulation takes: the fit over all configurations, the interval of those that were left out, and the windows' own noise.
    Raises ValueError for fewer than two configurations."""
    if len(table) < 2:
        raise ValueError(f"{len(table)} configuration(s) with steps: two or more are needed")
    fitted: Fitted = fit_step_times("", about, table).families[STEP]
    fixed, padded, prefill, decode = fitted.curve.weights
    noise = np.concatenate([item.seconds / np.median(item.seconds) for item in table])
    return StepCosts(
        about=about,
        padded=(Point(1, fixed + padded), Point(_LARGEST, fixed + padded * _LARGEST)),
        prefill=(0.0, prefill, 0.0, 0.0, 0.0),
        decode=(0.0, decode, 0.0),
        low=fitted.band.low,
        high=fitted.band.high,
        window_noise=tuple(map(float, noise)),
    )
