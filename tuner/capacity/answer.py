"""What a stored search for the highest load says: the answer in one sentence, the goodput curve, chips for a load, cost of tokens. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from storage.records import CapacityRun, CapacityState, CapacityWindow, Environment, Json, Workload
from tuner.capacity.criteria import KEEPS_UP, from_json
from tuner.capacity.loads import TURNS, LoadKind, kind_of_question
from tuner.core.numbers import number
from tuner.stats.edge import Side

MILLION = 1e6
HOUR_S = 3600.0
_ENDS = {CapacityState.INTERRUPTED: "was interrupted", CapacityState.FAIL: "failed", CapacityState.RUNNING: "runs or was killed"}


@dataclass(frozen=True)
class CurvePoint:
    """All valid windows at about one load, `rate` (requests/s, or requests at once). `goodput`: requests/s that met every per-request
    limit, their median; None where unknown."""

    rate: float
    windows: int
    held: int
    goodput: float | None
    metrics: Json


@dataclass(frozen=True)
class Sizing:
    """Engines and chips for a load. `chips`: with the low end of the interval, so that it holds; `at_least`: with the high end."""

    load: float
    engines: int
    chips: int
    at_least: int | None


@dataclass(frozen=True)
class Cost:
    """Per million tokens at the edge, in the price's own currency; `low` with the high end of the interval."""

    price_per_chip_hour: float
    per_million_tokens: float
    per_million_output_tokens: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CapacityAnswer:
    """`edge`, `low`, `high`: loads of one engine, as storage.records.CapacityRun has them. `windows`: valid ones."""

    run: CapacityRun
    workload: Workload
    environment: Environment | None
    windows: tuple[CapacityWindow, ...]

    @property
    def kind(self) -> LoadKind:
        return kind_of_question(self.run.question)

    @property
    def predicted(self) -> bool:
        return self.run.launcher == "simulate"

    @property
    def devices(self) -> int:
        """Chips of one engine."""
        return 1 if self.environment is None else self.environment.device_count

    @property
    def sentence(self) -> str:
        run, slos, unit, noun = self.run, " and ".join(self.run.slos), self.kind.unit, self.kind.noun
        verb = "predicted: " if self.predicted else ""
        if run.state is CapacityState.FOUND:
            return f"{verb}{number(run.edge)} {unit} [{number(run.low)}, {number(run.high)}] with {slos}"
        if run.state is CapacityState.AT_LEAST:
            return f"{verb}at least {number(run.edge)} {unit} with {slos}: it held at every {noun} that was tried"
        if run.state is CapacityState.NONE:
            lowest = min(window.load for window in self.windows)
            return f"{verb}no {noun} meets {slos}: it is not met at {number(lowest)} {unit} either{self._nearest()}"
        why = f": {run.reason}" if run.reason else ""
        return f"not known yet: the search {_ENDS[run.state]}{why}"

    @property
    def hint(self) -> str | None:
        """Where more requests in a window would say more: a closed loop held with all that its windows allow, or windows ended because
        their requests take longer than they arrive, which says little of a longer run."""
        if not self.kind.open_loop and self.run.state is CapacityState.AT_LEAST:
            return (
                f"a window has {TURNS} times as many requests as are there at once, at least: more requests (--requests) allow more at once"
            )
        whole = [item for item in self.windows if "stopped" not in item.details]
        short = sum(not from_json(item.readings).get(KEEPS_UP, Side(held=True)).held for item in whole)
        if not short:
            return None
        said = f"in {short} of {len(self.windows)} windows the last requests took longer than all arrivals, which counts as not keeping up"
        return f"{said}: windows of more requests (--requests) say more"

    def _served_near(self, load: float) -> float | None:
        """Requests/s at the tried load that is nearest; None where unknown."""
        points = [point for point in self.curve() if point.metrics.get("request_throughput")]
        nearest = min(points, key=lambda point: abs(point.rate - load), default=None)
        return None if nearest is None else float(nearest.metrics["request_throughput"])

    def _nearest(self) -> str:
        """What the SLOs' metrics were at the lowest rate."""
        lowest = min(self.windows, key=lambda window: window.load)
        names = [slo.replace(">", "<").split("<")[0] for slo in self.run.slos]
        seen = [f"{name} {number(lowest.metrics[name])}" for name in names if name in lowest.metrics]
        return f" ({', '.join(seen)})" if seen else ""

    def curve(self) -> list[CurvePoint]:
        """By rate; windows within 2 % of one another are one point."""
        points: list[list[CapacityWindow]] = []
        for window in sorted(self.windows, key=lambda item: item.load):
            if points and window.load <= 1.02 * points[-1][0].load:
                points[-1].append(window)
            else:
                points.append([window])
        return [_point(group) for group in points]

    def tokens_per_request(self, name: str) -> float | None:
        """Mean of `total_token_throughput` or `output_token_throughput` over requests/s, over the windows; None where unknown."""
        known = [item.metrics for item in self.windows if item.metrics.get("request_throughput") and name in item.metrics]
        return median(metrics[name] / metrics["request_throughput"] for metrics in known) if known else None

    def sizing(self, load: float) -> Sizing | None:
        """Chips for `load` (requests/s, or at once) spread evenly over engines; None where no load is known to hold."""
        if not self.run.low:
            return None
        engines = math.ceil(load / self.run.low)
        least = None if self.run.high is None else math.ceil(load / self.run.high) * self.devices
        return Sizing(load, engines, engines * self.devices, least)

    def cost(self, price: float) -> Cost | None:
        """At the edge, where every engine is used as much as the SLOs allow; None where tokens or edge are unknown. Of requests at once
        without an interval: tokens/s are those of the windows nearest to the edge."""
        run, total, output = (
            self.run,
            self.tokens_per_request("total_token_throughput"),
            self.tokens_per_request("output_token_throughput"),
        )
        if not run.edge or not total or not output:
            return None

        def per_million(rate: float, tokens: float) -> float:
            return price * self.devices / (rate * tokens * HOUR_S) * MILLION

        if not self.kind.open_loop:
            rate = self._served_near(run.edge)
            return Cost(price, per_million(rate, total), per_million(rate, output), None, None) if rate else None
        return Cost(
            price,
            per_million(run.edge, total),
            per_million(run.edge, output),
            None if not run.high else per_million(run.high, total),
            None if not run.low else per_million(run.low, total),
        )


def _point(windows: Sequence[CapacityWindow]) -> CurvePoint:
    goodputs = [item.metrics["goodput"] for item in windows if "goodput" in item.metrics]
    shared = set.intersection(*(set(item.metrics) for item in windows))
    return CurvePoint(
        rate=median(item.load for item in windows),
        windows=len(windows),
        held=sum(item.held for item in windows),
        goodput=median(goodputs) if goodputs else None,
        metrics={name: median(item.metrics[name] for item in windows) for name in sorted(shared)},
    )
