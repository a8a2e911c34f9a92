"""The pairs of a study: for each cell the log-ratios of two levels, by default of the two arms, and what they are made of. Pure.

See tuner.verdict.compare for what enters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from storage.records import Measurement, Trial, TrialState
from tuner.core.contrast import ALIGNMENT, Contrast
from tuner.core.factors import Level, cold_factors
from tuner.stats.drift import DriftReport, detect_drift, outlier_rounds, without_disturbed
from tuner.stats.intervals import paired_log_ratios
from tuner.stats.order_effect import order_effect, order_of_rounds, without_order
from tuner.stats.samples import ROBUST_FROM
from tuner.verdict.cold_pairs import start_pairs
from tuner.verdict.compared import ComparedTrials, compared_trials
from tuner.verdict.evidence import COMPARABLE, ComparedCell, Origin, cells_of, first_by_round, origin_of, usable_measurements


@dataclass(frozen=True)
class CellPairs:
    """The pairs of one cell in one metric. `log_ratios` is [pairs], in order of rounds."""

    cell: ComparedCell
    log_ratios: tuple[float, ...]
    rounds: tuple[int, ...]
    baseline: Trial
    candidate: Trial
    drift: DriftReport
    outlier_rounds: tuple[int, ...] = ()
    split_rounds: tuple[int, ...] = ()  # measured in both arms, but not in the same engine
    orders: tuple[int, ...] = ()  # [pairs] which arm came second (tuner.stats.order_effect)
    engine: ComparedCell | None = None  # whose rounds these are
    level: Level = ""  # of the compared factor
    order_effect: float = 0.0  # log of what being second multiplied a value by, taken out of `log_ratios`

    @property
    def runs_in_neither_arm(self) -> bool:
        """Failed or given up in both: nobody can use such a cell, so it is no part of the question."""
        ended = {self.baseline.state, self.candidate.state}
        return not self.log_ratios and ended <= {TrialState.FAIL, TrialState.PRUNED}


@dataclass(frozen=True)
class _Series:
    """One trial's usable values of a metric, by round, and the engines that they come from."""

    values: dict[int, float]
    origins: dict[int, Origin]
    positions: dict[int, int]


def collect_pairs(
    trials: Sequence[Trial], measurements: Sequence[Measurement], metric: str, contrast: Contrast = ALIGNMENT, windows: int = 1
) -> tuple[list[CellPairs], dict[str, int]]:
    """(one CellPairs per cell with a trial in both arms, reason -> measurements that were excluded). A cell may have no pair. `contrast`:
    what is compared instead of the arms, and `windows` of a start where it is cold."""
    usable, excluded = usable_measurements(trials, measurements, COMPARABLE, in_pairs=True)
    series = {
        trial.id: _Series(
            {at: float(item.metrics[metric]) for at, item in found.items()},
            {at: origin_of(item) for at, item in found.items()},
            {at: item.position for at, item in found.items()},
        )
        for trial in trials
        for found in [first_by_round(usable.get(trial.id, []), metric)]
    }
    cell = cells_of(trials)
    compared = compared_trials(trials, cell, contrast)
    if contrast.cold:
        return [_cold_pairs(item, series, windows) for item in compared], excluded
    disturbed = _disturbed_rounds(cell, series)
    engines = [_engine_of(cell[item.baselines[0].id]) for item in compared]
    result = [_cell_pairs(item, engine, series, disturbed[engine]) for item, engine in zip(compared, engines, strict=True)]
    return _without_order_effects(result), excluded


def _cold_pairs(item: ComparedTrials, series: dict[int, _Series], windows: int) -> CellPairs:
    """Of the first trial of each side: a cold comparison has one."""
    baseline, candidate = item.first(lambda trial: bool(series[trial.id].values))
    one, other = series[baseline.id], series[candidate.id]
    ratios = start_pairs(one.values, other.values, (one.origins, other.origins), windows=windows)
    return CellPairs(
        cell=item.cell,
        log_ratios=tuple(ratios.values()),
        rounds=tuple(ratios),
        baseline=baseline,
        candidate=candidate,
        drift=detect_drift({}),  # of starts, which differ by themselves, nothing is said
        orders=(0,) * len(ratios),
        level=item.level,
    )


def _without_order_effects(pairs: Sequence[CellPairs]) -> list[CellPairs]:
    """What being second costs is a property of the engine that ran: asked of all its cells together."""
    engines: dict[ComparedCell, list[CellPairs]] = {}
    for item in pairs:
        engines.setdefault(item.engine or item.cell, []).append(item)
    effects = {engine: order_effect((item.log_ratios, item.orders) for item in cells) for engine, cells in engines.items()}
    found: list[CellPairs] = []
    for item in pairs:
        effect = effects[item.engine or item.cell] if len(item.log_ratios) >= ROBUST_FROM else 0.0
        found.append(replace(item, log_ratios=tuple(without_order(item.log_ratios, item.orders, effect)), order_effect=effect))
    return found


def _cell_pairs(item: ComparedTrials, engine: ComparedCell, series: dict[int, _Series], disturbed: frozenset[int]) -> CellPairs:
    """Trials of the two sides are matched in order of their numbers, those without a usable value last."""
    baselines, candidates = item.ordered(lambda trial: bool(series[trial.id].values))
    together: dict[int, float] = {}
    orders: dict[int, int] = {}
    split: set[int] = set()
    for baseline, candidate in zip(baselines, candidates, strict=False):
        one, other = series[baseline.id], series[candidate.id]
        ratios = paired_log_ratios(one.values, other.values)
        apart = {number for number in ratios if one.origins[number] != other.origins[number]}
        together |= {number: value for number, value in ratios.items() if number not in apart}
        order = order_of_rounds(one.positions, other.positions)
        orders |= {number: order[number] for number in ratios.keys() - apart}
        split |= apart
    kept = without_disturbed(together, disturbed)
    baseline, candidate = baselines[0], candidates[0]
    drift = detect_drift(series[baseline.id].values)
    return CellPairs(
        cell=item.cell,
        engine=engine,
        level=item.level,
        log_ratios=tuple(kept.values()),
        rounds=tuple(kept),
        baseline=baseline,
        candidate=candidate,
        drift=drift,
        outlier_rounds=tuple(sorted(disturbed)) if len(together) < ROBUST_FROM else (),
        split_rounds=tuple(sorted(split)),
        orders=tuple(orders[number] for number in kept),
    )


def _engine_of(cell: ComparedCell) -> ComparedCell:
    """Rounds are numbered within an engine, and chunk budgets are live settings of one engine, as some factors are."""
    return ComparedCell(cell.block_size, 0, cell.settings, cell.workload_hash, cell.environment, cold_factors(cell.factors))


def _disturbed_rounds(cells: dict[int, ComparedCell], series: dict[int, _Series]) -> dict[ComparedCell, frozenset[int]]:
    engines: dict[ComparedCell, dict[str, dict[int, float]]] = {}
    for trial_id, cell in cells.items():
        engines.setdefault(_engine_of(cell), {})[str(trial_id)] = series[trial_id].values
    return {engine: outlier_rounds(values) for engine, values in engines.items()}
