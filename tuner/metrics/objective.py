"""What is to be won: objectives, service-level objectives (SLOs), and how several measurements become one value. Pure.

A failed trial is FAIL and never a number: everything here raises TrialFailed rather than invent a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from storage.records import Measurement
from storage.renamed import current_metric
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.core.numbers import exact
from tuner.metrics.catalog import CANARY_DIVERGENCE, CANARY_MATCH, Direction, metric_info
from tuner.metrics.window import RequestLimit, metric_value

DEFAULT_OBJECTIVE = "throughput"

_ALIASES = {
    "throughput": "total_token_throughput",
    "output_throughput": "output_token_throughput",
    "prompt_throughput": "prompt_token_throughput",
}
_SLO = re.compile(r"\s*([A-Za-z0-9_]+)\s*(<=|>=|<|>)\s*([^\s<>=]+)\s*")
_LATENCY_SLO = re.compile(r"(ttft|tpot|itl|e2el)_(mean|max|p(\d+))_ms")


@dataclass(frozen=True)
class Objective:
    """One metric and the way it is better. `name` is what the user wrote, `metric` the catalogue's name."""

    name: str
    metric: str
    direction: Direction

    def is_better(self, value: float, other: float) -> bool:
        return self.direction.sign * (value - other) > 0


@dataclass(frozen=True)
class Slo:
    """A limit on a metric of the window, e.g. `ttft_p99_ms<=500`. `operator` is one of <=, <, >=, >."""

    metric: str
    operator: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.operator}{exact(self.limit)}"

    def is_met(self, value: float) -> bool:
        match self.operator:
            case "<=":
                return value <= self.limit
            case "<":
                return value < self.limit
            case ">=":
                return value >= self.limit
            case _:
                return value > self.limit

    def never_met(self) -> str | None:
        """Why no window can meet it, whatever is measured; None where one can."""
        info = metric_info(self.metric)
        if self.operator.startswith("<") and self.limit == 0 and (info.positive or self.operator == "<"):
            return f"{self} can never be met: {self.metric} is never {'0 or below' if info.positive else 'below 0'}"
        if self.operator.startswith(">") and info.unit == "fraction" and not (self.is_met(1.0) or self.limit < 1):
            return f"{self} can never be met: {self.metric} is a fraction and never above 1"
        return None

    def constraint(self, value: float) -> float:
        """Optuna's form: feasible if and only if <= 0, in the metric's unit (so that a sampler sees how far away it is)."""
        excess = value - self.limit if self.operator.startswith("<") else self.limit - value
        if excess == 0 and not self.is_met(value):  # a strict limit, met exactly: the smallest violation there is
            return math.ulp(max(abs(self.limit), 1.0))
        return excess


@dataclass(frozen=True)
class Aggregate:
    """Several measurements as one value: the median, robust against one disturbed window, and the spread around it.

    `spread` is the relative median absolute deviation, scaled by 1.4826 to equal a standard deviation for normal noise; 0 for one.
    """

    value: float
    spread: float
    count: int


def parse_objectives(text: str = DEFAULT_OBJECTIVE) -> tuple[Objective, ...]:
    """`throughput`, `ttft_p99_ms`, or a comma list for several at once; any metric of the catalogue, in its natural direction.

    Raises BadInput for an empty or unknown name, or one that is named twice.
    """
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        raise _bad_objective(text, "holds an empty name", f"write for instance {DEFAULT_OBJECTIVE} or throughput,ttft_p99_ms")
    objectives = []
    for name in names:
        info = metric_info(_metric_named(name))
        objectives.append(Objective(name, info.name, info.direction))
    metrics = [objective.metric for objective in objectives]
    if len(set(metrics)) != len(metrics):
        raise _bad_objective(text, "names the same metric twice", "name each once")
    return tuple(objectives)


def _bad_objective(text: str, reason: str, fix: str) -> BadInput:
    return BadInput(reason, setting="objective", value=repr(text), fix=fix)


def _bad_slo(text: str, reason: str, fix: str) -> BadInput:
    return BadInput(f"SLO {text!r} {reason}", fix=fix)


def _metric_named(name: str) -> str:
    """The catalogue's name of what the user wrote: a short name, a metric, or a name that a metric had once."""
    return current_metric(_ALIASES.get(name, name))


def objective_names() -> tuple[str, ...]:
    """The short names; besides them any metric of tuner.metrics.catalog."""
    return tuple(_ALIASES)


def parse_slo(text: str) -> Slo:
    """`METRIC OPERATOR NUMBER`, e.g. `ttft_p99_ms<=500`. Raises BadInput for anything else."""
    match = _SLO.fullmatch(text)
    if match is None:
        raise _bad_slo(text, "cannot be read", "write METRIC<=NUMBER, for instance ttft_p99_ms<=500 (operators <=, <, >=, >)")
    metric, operator, number = match.groups()
    metric = _metric_named(metric)
    info = metric_info(metric)
    instance = f"write for instance {metric}{operator}{0.9 if info.unit == 'fraction' else 500}"
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise _bad_slo(text, f"has a limit that is not a finite number, {number!r}", instance)
    if limit < 0:
        raise _bad_slo(text, f"can never be met: {metric} is never below 0", instance)
    if operator.startswith(">") and info.direction is Direction.MINIMIZE:
        raise _bad_slo(text, f"keeps {metric} up, of which less is better", f"write {metric}<={number}")
    return Slo(metric, operator, limit)


def parse_guard(text: str) -> tuple[Slo, ...]:
    """Limits on how far answers may be from the baseline's, separated by commas: `canary_match>=0.98`. Raises BadInput for another metric
    and as parse_slo does."""
    limits = tuple(parse_slo(part) for part in text.split(","))
    for limit in limits:
        if limit.metric not in (CANARY_MATCH, CANARY_DIVERGENCE):
            raise BadInput(
                f"{limit.metric} says nothing about answers",
                setting="guard",
                fix=f"use {CANARY_MATCH}>=0.98 or {CANARY_DIVERGENCE}<=0.05; limits on other metrics are slos",
            )
        if limit.metric == CANARY_MATCH and limit.operator.startswith("<"):
            raise BadInput(f"{limit} keeps {CANARY_MATCH} down, of which more is better", setting="guard", fix=f"use {CANARY_MATCH}>=0.98")
        if never := limit.never_met():
            raise BadInput(never, setting="guard", fix=f"use {CANARY_MATCH}>=0.98 or {CANARY_DIVERGENCE}<=0.05")
    return limits


def request_limits(objectives: Sequence[Objective], slos: Sequence[Slo]) -> tuple[RequestLimit, ...]:
    """The per-request limits of goodput: each upper SLO on a latency bounds that latency of every single request.

    `itl_p95_ms<=50` bounds the 95th percentile of the gaps within each request, `itl_max_ms` the longest and `itl_mean_ms` the mean,
    which is the request's TPOT. Raises BadInput where goodput is an objective and no SLO gives it a limit.
    """
    limits: list[RequestLimit] = []
    for slo in slos:
        match = _LATENCY_SLO.fullmatch(slo.metric)
        if match is None or not slo.operator.startswith("<"):
            continue
        name, statistic, percentile = match.groups()
        if name == "itl" and statistic == "mean":
            limits.append(RequestLimit("tpot", slo.limit))
        else:
            limits.append(RequestLimit(name, slo.limit, float(percentile) if name == "itl" and percentile else 100.0))
    if not limits and any(objective.metric == "goodput" for objective in objectives):
        raise BadInput(
            "needs a latency SLO that every request has to meet",
            setting="objective",
            value="goodput",
            fix="add for instance --slo 'ttft_p99_ms<=500'",
        )
    return tuple(limits)


def aggregate(values: Sequence[float]) -> Aggregate:
    """Median and spread of measurements of one metric, in any order. Raises TrialFailed (INVALID_MEASUREMENT) if there is none."""
    if len(values) == 0:
        raise TrialFailed(FailureClass.INVALID_MEASUREMENT, "no valid measurement to take a value from")
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise TrialFailed(FailureClass.INVALID_MEASUREMENT, "a measurement is not a finite number")
    middle = median(numbers)
    deviation = 1.4826 * median(abs(number - middle) for number in numbers)
    return Aggregate(middle, deviation / abs(middle) if middle else 0.0, len(numbers))


def aggregate_metric(measurements: Sequence[Measurement], metric: str) -> Aggregate:
    """The value of a metric over the valid measurements. Raises BadInput (unknown metric) or TrialFailed (none valid, or one lacks it)."""
    return aggregate([metric_value(item.metrics, metric) for item in measurements if item.valid])


def objective_values(objectives: Sequence[Objective], measurements: Sequence[Measurement]) -> dict[str, float]:
    """What Optuna is told and `Trial.values` holds: objective name -> median over the valid measurements. Raises as aggregate_metric."""
    return {objective.name: aggregate_metric(measurements, objective.metric).value for objective in objectives}


def constraint_values(slos: Sequence[Slo], metrics: Mapping[str, float]) -> tuple[float, ...]:
    """One number per SLO, <= 0 where it is met. Raises TrialFailed where the metric was not measured: unknown is not met."""
    return tuple(slo.constraint(metric_value(metrics, slo.metric)) for slo in slos)


def median_metrics(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Metric -> median over the valid measurements, for the metrics that every one of them has. Raises TrialFailed if none is valid."""
    valid = [item.metrics for item in measurements if item.valid]
    if not valid:
        raise TrialFailed(FailureClass.INVALID_MEASUREMENT, "no valid measurement to take a value from")
    shared = set(valid[0]).intersection(*valid[1:])
    return {name: aggregate([float(metrics[name]) for metrics in valid]).value for name in sorted(shared)}


def is_feasible(slos: Sequence[Slo], metrics: Mapping[str, float]) -> bool:
    """Whether every SLO is met. An SLO on a metric that was not measured is not met."""
    return all(slo.metric in metrics and slo.is_met(float(metrics[slo.metric])) for slo in slos)
