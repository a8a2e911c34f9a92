"""Goodput against the rate of requests, by simulation: at each rate the same requests, their arrivals stretched to that rate.

The interval of a goodput holds the interval of the step times and all seeds: its lower end is the worst seed where every step takes as long
as it may (StepCosts.high), its upper end the best where each is as quick (StepCosts.low).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tuner.core.contract import LiveSettings, LoadPlan, WindowResult
from tuner.launchers.simulate import SimulatedSession
from tuner.metrics.window import RequestLimit, window_metrics
from tuner.workload.rates import as_open_loop, own_rate
from tuner.workload.spec import WorkloadSpec

FOREVER_S = 1e9
SHOWN = ("request_throughput", "total_token_throughput", "ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms", "mean_step_ms")


@dataclass(frozen=True)
class RatePoint:
    """`rate`: requests/s that arrive. `goodput`: requests/s that meet all limits, the median over the seeds, between `low` and `high`.
    `metrics`: of SHOWN, medians likewise. `wall_s`: what simulating took."""

    rate: float
    arm: str
    goodput: float
    low: float
    high: float
    metrics: dict[str, float]
    wall_s: float


def open_loops(spec: WorkloadSpec, seeds: int) -> list[WorkloadSpec]:
    """As open loops that can be stretched to a rate, one a seed; one in all for a trace with times, which does not depend on a seed."""
    return [as_open_loop(spec, nth) for nth in range(seeds if spec.load is not None else 1)]


def sweep(
    session: SimulatedSession,
    plans: Sequence[LoadPlan],
    rates: Sequence[float],
    lives: Sequence[LiveSettings],
    *,
    limits: Sequence[RequestLimit],
    seeds: int,
) -> Iterator[RatePoint]:
    """One point for each rate and live settings. Raises BadInput where all requests arrive at once, TrialFailed, EngineLost."""
    for rate in rates:
        for live in lives:
            yield _point(session, plans, rate, live, limits, seeds)


def _point(
    session: SimulatedSession, plans: Sequence[LoadPlan], rate: float, live: LiveSettings, limits: Sequence[RequestLimit], seeds: int
) -> RatePoint:
    costs = session.costs
    found: dict[float, list[dict[str, float]]] = {factor: [] for factor in (1.0, costs.low, costs.high)}
    wall_s = 0.0
    for plan in plans:
        stretch = own_rate(plan) / rate
        noises = 1 if len(plans) > 1 or not (costs.step_noise or costs.window_noise) else seeds
        for factor, metrics in found.items():
            for noise in range(noises):
                window = session.simulate(live, plan, FOREVER_S, seed=(noise, len(metrics)), arrivals=stretch, costs=factor)
                metrics.append(_metrics(window, limits))
                wall_s += float(window.details["wall_s"])
    typical = found[1.0]
    goodputs = {factor: [item["goodput"] for item in metrics] for factor, metrics in found.items()}
    return RatePoint(
        rate=rate,
        arm=live.arm,
        goodput=median(goodputs[1.0]),
        low=min(*goodputs[costs.high], *goodputs[1.0]),
        high=max(*goodputs[costs.low], *goodputs[1.0]),
        metrics={name: median(item[name] for item in typical) for name in SHOWN if all(name in item for item in typical)},
        wall_s=wall_s,
    )


def _metrics(window: WindowResult, limits: Sequence[RequestLimit]) -> dict[str, float]:
    return window_metrics(window, limits=limits, open_loop=True)
