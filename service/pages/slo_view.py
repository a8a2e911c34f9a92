"""How far each trial is inside the limits that were asked for. Pure.

By the median over a trial's usable windows, as a recommendation is chosen (tuner.verdict.candidates).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from storage.records import Measurement, Study, Trial
from tuner.core.errors import BadInput
from tuner.metrics.catalog import metric_info
from tuner.metrics.objective import Slo
from tuner.stats.intervals import log_mean_interval
from tuner.verdict.conclude import study_slos
from tuner.verdict.evidence import MEASURED, usable_measurements


@dataclass(frozen=True)
class Margin:
    """`value` in `unit`; `inside`, `low` and `high` in percent of the limit, negative beyond it; None for a limit of 0. `low` and `high`:
    95 % interval, None below two windows."""

    slo: Slo
    value: float
    unit: str
    inside: float | None
    low: float | None
    high: float | None

    @property
    def met(self) -> bool:
        return self.slo.is_met(self.value)


def slos_of(study: Study) -> tuple[Slo, ...]:
    """() where what is stored of the study cannot be read."""
    try:
        return study_slos(study)
    except BadInput:
        return ()


def margins_of(trials: Sequence[Trial], measurements: Sequence[Measurement], slos: Sequence[Slo]) -> dict[int, tuple[Margin, ...]]:
    """Trial id -> a margin for each SLO whose metric it has; trials without a usable window are absent."""
    usable, _ = usable_measurements(trials, measurements, MEASURED)
    return {trial_id: tuple(found for slo in slos if (found := _margin(slo, windows)) is not None) for trial_id, windows in usable.items()}


def misses(margins: Mapping[int, Sequence[Margin]], trial_id: int) -> tuple[str, ...]:
    """The SLOs that a trial does not meet."""
    return tuple(str(margin.slo) for margin in margins.get(trial_id, ()) if not margin.met)


def _margin(slo: Slo, windows: Sequence[Measurement]) -> Margin | None:
    values = [float(item.metrics[slo.metric]) for item in windows if slo.metric in item.metrics]
    if not values:
        return None
    middle, interval = median(values), log_mean_interval(values)
    ends: list[float | None] = [None, None]
    if interval is not None:  # widened to hold the median, which is not the geometric mean
        ends = sorted((_inside(slo, min(interval[0], middle)), _inside(slo, max(interval[1], middle))), key=lambda end: end or 0.0)
    return Margin(slo, middle, metric_info(slo.metric).unit, _inside(slo, middle), *ends)


def _inside(slo: Slo, value: float) -> float | None:
    if slo.limit == 0:
        return None
    return 100 * (slo.limit - value if slo.operator.startswith("<") else value - slo.limit) / slo.limit
