"""Tells the cause of each compared cell from what is stored: the steps of its paired windows, the study's step cost, profiles. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

from storage.records import Comparison, Measurement, Profile, Stage, Trial
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.core.factors import Cell
from tuner.verdict.cell_cause import CAUSE, CellEvidence, cell_cause
from tuner.verdict.cell_steps import cell_steps, window_steps
from tuner.verdict.evidence import ComparedCell, cells_of, origin_of, place_of
from tuner.verdict.kv_share import KvShare, kv_share
from tuner.verdict.step_cost import Engine, StepCost, WindowSteps, step_cost

_OPEN_LOOP_METRIC = "sender_lag_p99_ms"
_COMMON_TO_ARMS = frozenset({None, "", "drifted"})  # invalid_reason: a drift is common to the windows of a round, and so is no harm here

type _Conditions = tuple[str, str, str]  # everything but page size and chunk budget
type _Pair = tuple[int, int]  # ids of the default and the page-aligned trial


class CellCauses:
    """Why each cell of a study is what it is. `trials`: of all stages, because finalists have the profiles."""

    def __init__(self, trials: Sequence[Trial], measurements: Iterable[Measurement], profiles: Sequence[Profile]) -> None:
        searched = [trial for trial in trials if trial.stage is Stage.SEARCH]
        self._cells = cells_of(searched)
        self._windows: dict[int, dict[int, Measurement]] = {trial.id: {} for trial in searched}  # trial -> round -> window
        for window in sorted(measurements, key=lambda item: (not item.valid, item.position)):
            if window.trial_id in self._windows:
                self._windows[window.trial_id].setdefault(window.round, window)
        self._steps = {
            trial_id: {number: found for number, window in windows.items() if (found := window_steps(window)) is not None}
            for trial_id, windows in self._windows.items()
        }
        self._profiles: dict[tuple[str, Cell], list[Profile]] = defaultdict(list)  # (arm, cell) -> profiles
        places = {trial.id: (trial.arm, place_of(trial)) for trial in trials}
        for profile in profiles:
            if profile.trial_id in places:
                self._profiles[places[profile.trial_id]].append(profile)
        self._costs = self._step_costs(searched)
        self._known: dict[tuple[_Pair, tuple[int, ...]], CellEvidence] = {}

    def told(self, comparisons: Iterable[Comparison]) -> list[Comparison]:
        """The same, each with its cause in its details."""
        return [replace(item, details={**item.details, CAUSE: cell_cause(self._evidence(item), item)}) for item in comparisons]

    def _evidence(self, item: Comparison) -> CellEvidence:
        """One for all metrics of a cell."""
        pair, rounds = (item.baseline_trial_id or 0, item.candidate_trial_id or 0), tuple(item.details.get("rounds", ()))
        if not all(trial_id in self._windows for trial_id in pair):
            return CellEvidence(None)
        if (pair, rounds) not in self._known:
            self._known[pair, rounds] = self._of_pair(pair, rounds)
        return self._known[pair, rounds]

    def _of_pair(self, pair: _Pair, rounds: tuple[int, ...]) -> CellEvidence:
        cell = self._cells[pair[0]]
        windows = [[self._windows[trial_id][number] for number in rounds if number in self._windows[trial_id]] for trial_id in pair]
        return CellEvidence(
            steps=cell_steps(self._steps[pair[0]], self._steps[pair[1]], rounds),
            cost=self._costs.get(_conditions(cell)),
            kv=(self._kv(cell, ARM_DEFAULT, windows[0]), self._kv(cell, ARM_PAGE_ALIGNED, windows[1])),
            open_loop=any(_OPEN_LOOP_METRIC in window.metrics for side in windows for window in side[:1]),
        )

    def _kv(self, cell: ComparedCell, arm: str, windows: Sequence[Measurement]) -> KvShare | None:
        return kv_share(self._profiles.get((arm, cell.place), []), windows)

    def _step_costs(self, trials: Sequence[Trial]) -> dict[_Conditions, StepCost]:
        engines: dict[_Conditions, dict[Engine, dict[Hashable, dict[int, WindowSteps]]]] = defaultdict(dict)
        for trial in trials:
            for number, found in self._steps[trial.id].items():
                window = self._windows[trial.id][number]
                if window.invalid_reason in _COMMON_TO_ARMS and not window.details.get("compilations"):
                    engine = (trial.arm, trial.block_size, *origin_of(window))
                    budgets = engines[_conditions(self._cells[trial.id])].setdefault(engine, {})
                    budgets.setdefault(place_of(trial), {})[number] = found
        return {conditions: cost for conditions, found in engines.items() if (cost := step_cost(found)) is not None}


def _conditions(cell: ComparedCell) -> _Conditions:
    return cell.settings, cell.workload_hash, cell.environment
