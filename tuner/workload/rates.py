"""A workload at a rate, its arrivals stretched or squeezed, or with so many requests at once: the same requests. Pure."""

from __future__ import annotations

from dataclasses import replace

from tuner.core.contract import LoadPlan
from tuner.core.errors import BadInput
from tuner.workload.sources import DRAWN, Load
from tuner.workload.spec import WorkloadSpec, content_hash


def as_open_loop(spec: WorkloadSpec, nth: int = 0) -> WorkloadSpec:
    """As an open loop that can be stretched to a rate: the nth draw of it. A trace with times does not depend on a seed."""
    if spec.load is None:
        return spec
    if spec.load.is_shaped:
        raise BadInput("has a rate that changes, which cannot be stretched to another", setting="workload", fix="drop ramp_to and burst")
    load = Load(request_rate=1.0, burstiness=spec.load.burstiness)
    return spec.model_copy(update={"load": load, "seed": spec.seed + nth})


def with_requests(spec: WorkloadSpec, requests: int) -> WorkloadSpec:
    """With so many requests, of a file at most as many as it has."""
    name = DRAWN.get(type(spec.source), "max_requests")
    return spec.model_copy(update={"source": spec.source.model_copy(update={name: requests})})


def own_rate(plan: LoadPlan) -> float:
    """Requests/s of an open loop. Raises BadInput where all requests arrive at once."""
    if plan.last_arrival_s <= 0:
        raise BadInput("has no arrivals that could be stretched to a rate", setting="workload", fix="use another, or give it a rate")
    return len(plan.requests) / plan.last_arrival_s


def at_rate(plan: LoadPlan, rate: float) -> LoadPlan:
    """The plan with arrivals at `rate` requests/s. Raises BadInput as own_rate."""
    stretch = own_rate(plan) / rate
    requests = tuple(replace(request, arrival_s=request.arrival_s * stretch) for request in plan.requests)
    return replace(plan, requests=requests, content_hash=content_hash(requests, plan.max_concurrency))


def at_once(plan: LoadPlan) -> LoadPlan:
    """All requests of an open loop at its beginning."""
    requests = tuple(replace(request, arrival_s=0.0) for request in plan.requests)
    return replace(plan, requests=requests, content_hash=content_hash(requests, plan.max_concurrency))


def in_closed_loop(plan: LoadPlan, concurrency: int) -> LoadPlan:
    """The requests of an open loop in their order, `concurrency` of them at once; none waits for its arrival."""
    requests = tuple(replace(request, arrival_s=0.0) for request in sorted(plan.requests, key=lambda item: item.arrival_s))
    return replace(plan, requests=requests, max_concurrency=concurrency, content_hash=content_hash(requests, concurrency))
