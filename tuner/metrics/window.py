"""One measured window -> numbers. Pure.

Percentiles are numpy's default (linear interpolation between the two nearest order statistics, Hyndman-Fan type 7), standard deviations
are of the population, and throughput divides by the window's duration: the three as in `vllm bench serve`, so that numbers can be laid
side by side. Unlike there, what does not exist is absent and never 0: a window without a completed request raises.
Formulas and units: docs/metrics.md and tuner.metrics.catalog.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from storage.renamed import current_metric
from tuner.core.contract import RequestRecord, StepRecord, WindowResult
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.metrics.catalog import PERCENTILES, REQUEST_METRICS, metric_info

RECOMPILED = "recompiled"  # Measurement.invalid_reason of a window in which the engine compiled a program
SATURATED = "saturated"  # Measurement.invalid_reason of a window that tuner.workload.saturation ended


@dataclass(frozen=True)
class RequestLimit:
    """One condition of goodput on each request, as in `vllm bench serve --goodput` (which knows ttft, tpot and e2el); `itl` is ours.

    `percentile` reduces the gaps of one request to a number and only concerns `itl`; 100 is the longest gap.
    """

    metric: str
    limit_ms: float
    percentile: float = 100.0

    def __post_init__(self) -> None:
        if self.metric not in REQUEST_METRICS:
            raise BadInput(f"goodput limit on {self.metric!r}: use one of {', '.join(REQUEST_METRICS)}")
        if not (math.isfinite(self.limit_ms) and self.limit_ms >= 0):
            raise BadInput(f"goodput limit {self.metric}:{self.limit_ms} must be a number of milliseconds, 0 or more")
        if not 0 <= self.percentile <= 100:
            raise BadInput(f"goodput limit on {self.metric}: percentile {self.percentile} must be between 0 and 100")


@dataclass(frozen=True)
class _Latencies:
    """One completed request, in milliseconds. `itl` is [output tokens - 1]; `tpot` is None for one token."""

    ttft: float
    tpot: float | None
    itl: tuple[float, ...]
    e2el: float


def window_metrics(result: WindowResult, *, limits: Sequence[RequestLimit] = (), open_loop: bool = False) -> dict[str, float]:
    """All metrics of one window, flat name -> value. `goodput` exists only with `limits`, `sender_lag_p99_ms` only with `open_loop`.

    Metrics that the launcher reports itself override computed ones. Raises TrialFailed (REQUEST_FAILED if no request completed,
    INVALID_MEASUREMENT for an empty window, impossible times or a number that is not finite) and BadInput for an unknown reported metric.
    """
    metrics: dict[str, float] = {}
    if result.requests:
        completed = [record for record in result.requests if is_completed(record)]
        if not completed:
            first_error = next((record.error for record in result.requests if record.error), "none finished")
            raise TrialFailed(FailureClass.REQUEST_FAILED, f"all {len(result.requests)} requests of the window failed: {first_error}")
        if not (math.isfinite(result.duration_s) and result.duration_s > 0):
            raise _invalid(f"the window lasted {result.duration_s} s, which must be more than 0")
        latencies = [_latencies(record, from_arrival=result.latency_from_arrival) for record in completed]
        metrics |= _count_metrics(result, completed)
        metrics |= _latency_metrics(latencies)
        if limits:
            metrics["goodput"] = sum(_meets(item, limits) for item in latencies) / result.duration_s
        if open_loop:
            lags_ms = [(record.sent_s - record.planned_s) * 1000 for record in result.requests]
            metrics["sender_lag_p99_ms"] = float(np.percentile(lags_ms, 99))
    elif not result.reported_metrics:
        raise _invalid("the window holds no request and no reported metric")
    metrics |= step_metrics(result.steps)
    metrics |= _reported(result.reported_metrics)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise _invalid(f"metric {name} is {value}")
    return metrics


def window_fault(result: WindowResult, metrics: Mapping[str, float]) -> str | None:
    """Why a window must not enter a value (`storage.records.Measurement.invalid_reason`), or None for a good one."""
    if result.compilations > 0:
        return RECOMPILED
    if result.stopped is not None:
        return SATURATED
    if metrics.get("failed", 0.0) > 0:
        return "request_failed"
    return None


def is_completed(record: RequestRecord) -> bool:
    """A request counts if it finished without an error and sent at least one token."""
    return record.error is None and record.finished_s is not None and len(record.token_times_s) > 0


def request_values_ms(result: WindowResult, metric: str) -> list[float]:
    """`ttft`, `tpot` or `e2el` of each completed request that has it. Raises TrialFailed (INVALID_MEASUREMENT) for impossible times."""
    found = [_latencies(record, from_arrival=result.latency_from_arrival) for record in result.requests if is_completed(record)]
    values: list[float | None] = [{"ttft": item.ttft, "tpot": item.tpot, "e2el": item.e2el}[metric] for item in found]
    return [value for value in values if value is not None]


def metric_value(metrics: Mapping[str, float], name: str) -> float:
    """Read one metric. Raises BadInput for a name nobody knows and TrialFailed where this window does not have it; never a default."""
    metric_info(name)
    value = metrics.get(name)
    if value is None:
        raise _invalid(f"metric {name} does not exist in this measurement")
    if not math.isfinite(value):
        raise _invalid(f"metric {name} is {value}")
    return float(value)


def step_metrics(steps: Sequence[StepRecord]) -> dict[str, float]:
    """Metrics of the engine's steps; empty where the launcher cannot see steps. Empty steps are counted and left out of the rest."""
    if not steps:
        return {}
    busy = [step for step in steps if step.scheduled_tokens > 0]
    counts = {"steps": float(len(busy)), "empty_steps": float(len(steps) - len(busy))}
    if not busy:
        return counts
    durations_ms = np.array([step.duration_s for step in busy]) * 1000
    scheduled = sum(step.scheduled_tokens for step in busy)
    padded = sum(step.padded_tokens for step in busy)
    if padded < scheduled:
        raise _invalid(f"the steps computed {padded} tokens but scheduled {scheduled}")
    return counts | {
        "mean_step_ms": float(durations_ms.mean()),
        "p50_step_ms": float(np.percentile(durations_ms, 50)),
        "p99_step_ms": float(np.percentile(durations_ms, 99)),
        "scheduled_tokens_per_step": scheduled / len(busy),
        "padded_tokens_per_step": padded / len(busy),
        "padding_share": 1 - scheduled / padded,
        "prefill_tokens_per_step": sum(step.prefill_tokens for step in busy) / len(busy),
    }


def _latencies(record: RequestRecord, *, from_arrival: bool) -> _Latencies:
    times, finished_s = record.token_times_s, record.finished_s
    assert finished_s is not None  # is_completed
    start_s = record.planned_s if from_arrival else record.sent_s
    chain = (start_s, record.sent_s, *times, finished_s)
    if not all(map(math.isfinite, chain)) or any(later < earlier for earlier, later in pairwise(chain)):
        raise _invalid(f"request {record.request_id}: sent, token and finish times must be finite and in order on one clock")
    e2el = (finished_s - start_s) * 1000
    ttft = (times[0] - start_s) * 1000
    tpot = (e2el - ttft) / (len(times) - 1) if len(times) > 1 else None
    return _Latencies(ttft, tpot, tuple((b - a) * 1000 for a, b in pairwise(times)), e2el)


def _meets(item: _Latencies, limits: Sequence[RequestLimit]) -> bool:
    return all(_reduced(item, limit) <= limit.limit_ms for limit in limits)


def _reduced(item: _Latencies, limit: RequestLimit) -> float:
    """What the limit is compared with. One-token requests have no TPOT and no ITL and meet any limit on them, as in vLLM."""
    match limit.metric:
        case "ttft":
            return item.ttft
        case "e2el":
            return item.e2el
        case "tpot":
            return item.tpot if item.tpot is not None else 0.0
        case _:
            return float(np.percentile(item.itl, limit.percentile)) if item.itl else 0.0


def _count_metrics(result: WindowResult, completed: Sequence[RequestRecord]) -> dict[str, float]:
    prompt = sum(record.prompt_tokens for record in completed)
    output = sum(len(record.token_times_s) for record in completed)
    metrics = {
        "completed": float(len(completed)),
        "failed": float(len(result.requests) - len(completed)),
        "request_throughput": len(completed) / result.duration_s,
        "prompt_token_throughput": prompt / result.duration_s,
        "output_token_throughput": output / result.duration_s,
        "total_token_throughput": (prompt + output) / result.duration_s,
        "preemptions": float(sum(record.preemptions for record in result.requests)),
    }
    if prompt > 0:
        metrics["prefix_cache_hit_rate"] = sum(record.cached_tokens for record in completed) / prompt
    return metrics


def _latency_metrics(latencies: Sequence[_Latencies]) -> dict[str, float]:
    """Mean, spread and percentiles of each request metric that exists; gaps (`itl`) are pooled over all requests."""
    pooled: dict[str, list[float]] = {
        "ttft": [item.ttft for item in latencies],
        "tpot": [item.tpot for item in latencies if item.tpot is not None],
        "itl": [gap for item in latencies for gap in item.itl],
        "e2el": [item.e2el for item in latencies],
    }
    metrics: dict[str, float] = {}
    for name in REQUEST_METRICS:
        if pooled[name]:
            metrics |= {f"{name}_{statistic}_ms": value for statistic, value in _statistics(np.array(pooled[name])).items()}
    return metrics


def _statistics(values: np.ndarray) -> dict[str, float]:
    percentiles = (float(value) for value in np.percentile(values, PERCENTILES))
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        **{f"p{rank}": value for rank, value in zip(PERCENTILES, percentiles, strict=True)},
        "max": float(values.max()),
    }


def _reported(reported: Mapping[str, object]) -> dict[str, float]:
    if reported.get("completed") == 0:
        raise TrialFailed(FailureClass.REQUEST_FAILED, "the launcher reports that no request of the window completed")
    metrics: dict[str, float] = {}
    for name, value in reported.items():
        info = metric_info(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _invalid(f"the launcher reports {name} = {value!r}, which is not a number")
        if reason := info.impossible(value):
            raise _invalid(f"the launcher reports {name} = {value!r}: {reason}")
        metrics[current_metric(name)] = float(value)
    return metrics


def _invalid(message: str) -> TrialFailed:
    return TrialFailed(FailureClass.INVALID_MEASUREMENT, message)
