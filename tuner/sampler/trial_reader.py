"""What the trials of a study tell, as arrays. Trials that are finished are read once, so that an ask stays cheap late in a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import is_

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from tuner.sampler.grid import Array, Indices, Row, Space


@dataclass(frozen=True)
class Told:
    """`levels` [n x axes], `violations` [n] and `values` [n x objectives] of the finished trials within the space, in their order.

    A violation says by how much a trial breaks constraints; it is infinite where it failed, and its values are then 0.
    `pending` [p x axes]: what is being measured. `tried` [t x axes]: what any trial has, whatever became of it; what an enqueued one fixes
    counts too.
    """

    levels: Indices
    violations: Array
    values: Array
    pending: Indices
    tried: Indices

    def then(self, later: Told) -> Told:
        return Told(
            np.concatenate([self.levels, later.levels]),
            np.concatenate([self.violations, later.violations]),
            np.concatenate([self.values, later.values]),
            np.concatenate([self.pending, later.pending]),
            np.concatenate([self.tried, later.tried]),
        )


class TrialReader:
    """Not for several threads at once."""

    def __init__(self, space: Space, fixed_attribute: str) -> None:
        """`fixed_attribute`: the system attribute of a trial that holds what it fixes."""
        self._space = space
        self._fixed_attribute = fixed_attribute
        self._kept: list[FrozenTrial] = []  # the first trials of the study that was read last, all finished: nothing of them changes
        self._told: Told | None = None  # what these tell

    def read(self, trials: Sequence[FrozenTrial], objectives: int) -> Told:
        """Of a study's trials in their order."""
        kept = self._kept
        if self._told is None or len(trials) < len(kept) or not all(map(is_, trials, kept)):
            self._kept, self._told = kept, told = [], self.read_once((), objectives)
        else:
            told = self._told
        finished = list(takewhile(lambda trial: trial.state.is_finished(), trials[len(kept) :]))
        if finished:
            self._told = told = told.then(self.read_once(finished, objectives))
            kept.extend(finished)
        return told.then(self.read_once(trials[len(kept) :], objectives))

    def read_once(self, trials: Sequence[FrozenTrial], objectives: int) -> Told:
        measured: list[Row] = []
        pending: list[Row] = []
        tried: list[Row] = []
        violations, values = [], []
        for trial in trials:
            row = self._space.find(trial.params)
            fixed = trial.system_attrs.get(self._fixed_attribute)
            taken = self._space.find({**fixed, **trial.params}) if fixed else row
            if taken is not None:
                tried.append(taken)
            if row is None:
                continue
            if not trial.state.is_finished():
                pending.append(row)
                continue
            result = _values(trial)
            measured.append(row)
            violations.append(math.inf if result is None else sum(max(0.0, broken) for broken in trial.constraints.values()))
            values.append([0.0] * objectives if result is None else result)
        return Told(
            self._space.rows(measured),
            np.array(violations, dtype=float),
            np.array(values, dtype=float).reshape(-1, objectives),
            self._space.rows(pending),
            self._space.rows(tried),
        )


def _values(trial: FrozenTrial) -> list[float] | None:
    """[objectives] of a finished trial; of a pruned one its last intermediate value, as Optuna's TPE has it. None: there is none."""
    if trial.state is TrialState.COMPLETE:
        return list(trial.values)
    if trial.state is TrialState.PRUNED and trial.last_step is not None:
        return [trial.intermediate_values[trial.last_step]]
    return None
