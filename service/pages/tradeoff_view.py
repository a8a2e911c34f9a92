"""Two metrics of every configuration against each other: two objectives, or the objective against the latency (or throughput) beside it.
Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from service.pages.slo_view import margins_of, misses
from storage.records import Measurement, Stage, Trial
from tuner.core.factors import ArmCell, in_arm
from tuner.metrics.catalog import Direction, metric_info
from tuner.metrics.objective import Objective, Slo
from tuner.verdict.evidence import MEASURED, place_of, usable_measurements

_THROUGHPUT = ("total_token_throughput", "output_token_throughput", "request_throughput")
_LATENCY = ("ttft_p99_ms", "tpot_p99_ms", "e2el_p99_ms", "mean_step_ms")


@dataclass(frozen=True)
class TradeOffPoint:
    trial: Trial
    x: float
    y: float
    front: bool
    winner: bool
    misses: tuple[str, ...] = ()

    @property
    def arm(self) -> str:
        return self.trial.arm


@dataclass(frozen=True)
class TradeOff:
    """Medians over the usable windows. `front`: nothing else matches a point in both metrics and beats it in one; `misses`: the SLOs that
    it does not meet. `slos`: those on one of the two metrics, which are lines in the picture."""

    x_metric: str
    y_metric: str
    points: tuple[TradeOffPoint, ...]
    slos: tuple[Slo, ...] = ()

    @property
    def x_title(self) -> str:
        return _title(self.x_metric)

    @property
    def y_title(self) -> str:
        return _title(self.y_metric)


def trade_off(
    trials: Sequence[Trial],
    measurements: Sequence[Measurement],
    objectives: Sequence[Objective],
    place: ArmCell | None,
    slos: Sequence[Slo] = (),
) -> TradeOff | None:
    """None where no second metric was measured. The confirmed finalists are left out: they repeat search trials.

    `place`: arm, page size and chunk budget that are recommended. A single objective stands against what its first SLO limits.
    """
    searched = [trial for trial in trials if trial.stage is Stage.SEARCH]
    usable, _ = usable_measurements(searched, measurements, MEASURED)
    metrics = _metrics(objectives, usable, slos)
    if metrics is None:
        return None
    x_metric, y_metric = metrics
    values: list[tuple[Trial, float, float]] = []
    for trial in searched:
        windows = usable.get(trial.id, [])
        x, y = ([float(item.metrics[name]) for item in windows if name in item.metrics] for name in metrics)
        if x and y:
            values.append((trial, median(x), median(y)))
    signs = metric_info(x_metric).direction.sign, metric_info(y_metric).direction.sign
    scores = [(signs[0] * x, signs[1] * y) for _, x, y in values]
    margins = margins_of(searched, measurements, slos) if slos else {}
    points = [
        TradeOffPoint(
            trial=trial,
            x=x,
            y=y,
            front=not _dominated(score, scores),
            winner=in_arm(trial.arm, place_of(trial)) == place,
            misses=misses(margins, trial.id),
        )
        for (trial, x, y), score in zip(values, scores, strict=True)
    ]
    return TradeOff(x_metric, y_metric, tuple(points), tuple(slo for slo in slos if slo.metric in metrics))


def _metrics(objectives: Sequence[Objective], usable: dict[int, list[Measurement]], slos: Sequence[Slo]) -> tuple[str, str] | None:
    """(x, y): latency lies along x where there is one."""
    measured = {name for windows in usable.values() for item in windows[:1] for name in item.metrics}
    first = objectives[0].metric
    if len(objectives) > 1:
        second = objectives[1].metric
    else:
        usual = _LATENCY if metric_info(first).direction is Direction.MAXIMIZE else _THROUGHPUT
        others = (*(slo.metric for slo in slos), *usual)
        second = next((name for name in others if name in measured and name != first), "")
    if first not in measured or second not in measured:
        return None
    return (second, first) if metric_info(second).direction is Direction.MINIMIZE else (first, second)


def _dominated(score: tuple[float, float], scores: Sequence[tuple[float, float]]) -> bool:
    return any(other != score and other[0] >= score[0] and other[1] >= score[1] for other in scores)


def _title(metric: str) -> str:
    return f"{metric} ({metric_info(metric).unit})"
