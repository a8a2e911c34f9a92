"""The two loads of which there is a highest: requests that arrive in a second, and requests that are there at once. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.contract import LoadPlan
from tuner.core.errors import BadInput
from tuner.core.numbers import number
from tuner.metrics.catalog import MAX_CONCURRENCY, MAX_REQUEST_RATE
from tuner.workload.rates import at_rate, in_closed_loop
from tuner.workload.spec import WorkloadSpec

BY = "by"  # in CapacityRun.question, where that is not the rate
FIRST_SHARE = 0.5  # of what the engine serves when all requests come at once, or of its places: where the search begins
TURNS = 4  # requests of a window for each that is there at once, at least: else it is mostly beginning and end


@dataclass(frozen=True)
class LoadKind:
    """`by`: its name; `metric`: the highest load as a metric; `noun` and `unit`: in words; `open_loop`: requests come at times of their
    own, else each when one before it ends."""

    by: str
    metric: str
    noun: str
    unit: str
    open_loop: bool

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are loads."""
        return not self.open_loop

    def told(self, load: float | None) -> str:
        return f"{number(load, 3)} {self.unit}"

    def plan(self, plan: LoadPlan, load: float) -> LoadPlan:
        """The plan, an open loop, under this load. Raises BadInput as at_rate."""
        return at_rate(plan, load) if self.open_loop else in_closed_loop(plan, round(load))

    def first(self, served: float, places: int) -> float:
        """Where to begin. `served`: requests/s where all come at once; `places`: requests that run at once at most."""
        return FIRST_SHARE * served if self.open_loop else max(1.0, FIRST_SHARE * places)

    def highest(self, requests: int) -> float:
        """No higher load can be told with windows of so many requests."""
        return math.inf if self.open_loop else max(1.0, requests // TURNS)

    def check(self, spec: WorkloadSpec) -> None:
        """Raises BadInput for a workload that has no such load."""
        if not self.open_loop and getattr(spec.source, "think_s", None):
            raise BadInput("has think times, which a closed loop has not", setting="workload", fix="drop think_s, or search by the rate")


RATE = LoadKind("rate", MAX_REQUEST_RATE, "rate", "requests/s", open_loop=True)
CONCURRENCY = LoadKind("concurrency", MAX_CONCURRENCY, "number of requests at once", "requests at once", open_loop=False)
KINDS = {kind.by: kind for kind in (RATE, CONCURRENCY)}


def kind_of_metrics(metrics: Iterable[str]) -> LoadKind | None:
    """That of a search's objectives; None where none of them is a highest load."""
    named = set(metrics)
    return next((kind for kind in KINDS.values() if kind.metric in named), None)


def kind_of_question(question: Mapping[str, Any]) -> LoadKind:
    """Of a stored run."""
    return KINDS.get(question.get(BY, RATE.by), RATE)
