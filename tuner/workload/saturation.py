"""Over-saturation: does an open-loop window send more than the engine can serve? Then the queue grows for as long as the window lasts,
and latencies measure the window's length, not the engine. Pure.

Standard library only: it runs inside the engine process, between two steps. The idea, a slope test on concurrency and on time to first
token (TTFT), is guidellm's (vllm-project/guidellm, docs/guides/over_saturation_stopping.md). The statistics are ours. Requests that are
in the queue at the same time wait for the same reason, so they are not independent, and a regression over single requests would count
one busy spell as hundreds of observations.

- Backlog (unfinished requests): at exactly the engine's capacity it is a random walk; below capacity it wanders less. Its increments over
  equal slices of time are nearly independent, its levels are not. So the test is Student's t on the mean increment, whatever the
  burstiness of arrivals and service. The size of the effect is the *deficit*, the fraction of what arrives that is not served: at rho
  times the capacity the backlog grows by 1 - 1/rho requests for each one that arrives.
- TTFT must grow as well, by regression over slices of the window. A backlog that grows while requests still start at once is a batch
  that fills up, not a queue.
- The ramp-up is left out: in any stable system concurrency first rises from zero to arrival rate x time in system (guidellm issue 606).

Wrong alarms and detections by simulation: tests/tuner/workload/test_saturation.py, numbers in docs/feasibility.md.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median, stdev

from tuner.core.contract import RequestRecord

INCREMENTS = 24  # of the backlog; enough that the t-statistic is nearly normal, few enough that each holds several arrivals
BACKLOG_T = 2.5  # one-sided 1 % of Student's t with INCREMENTS - 1 degrees of freedom; at most a handful of tests a window are independent
SLICES = 8  # of the window, for TTFT
TTFT_T = 1.94  # one-sided 5 % with SLICES - 2 degrees of freedom; it only confirms the backlog's test
MIN_DEFICIT = 0.08  # 1.09 times the capacity: what is closer to capacity may still settle, and its SLOs are better judged by measuring
MIN_FINISHED = 80  # finished requests before the first test: three arrivals an increment
EARLY = 16  # requests whose median time in the system, before a queue builds up, says how long the ramp-up takes
RAMP_UP = 2.0  # times that
CHECK_EVERY = 16  # finished requests between two tests


@dataclass(frozen=True)
class Trend:
    """`deficit` is dimensionless: requests per arriving request, or seconds of waiting per second. `t`: over its standard error."""

    deficit: float
    t: float

    def matters(self, threshold: float) -> bool:
        return self.deficit >= MIN_DEFICIT and self.t >= threshold


def saturation(records: Sequence[RequestRecord], now_s: float) -> str | None:
    """Why the window may be stopped at `now_s` (seconds since its start), or None.

    `records` are the requests that were sent so far, in any order, also unfinished ones. Waiting counts from the planned arrival: a sender
    that is blocked by the engine does not hide it.
    """
    if sum(record.finished_s is not None for record in records) < MIN_FINISHED:
        return None
    start_s = ramp_up_s(records, now_s)
    if start_s > now_s / 2:
        return None
    backlog = backlog_trend(records, start_s, now_s)
    if backlog is None or not backlog.matters(BACKLOG_T):
        return None
    ttft = ttft_trend(records, start_s, now_s)
    if ttft is None or not ttft.matters(TTFT_T):
        return None
    return (
        f"saturated after {now_s:.1f} s: {backlog.deficit:.0%} of what arrives is not served (t = {backlog.t:.1f}), "
        f"TTFT grows by {ttft.deficit * 1000:.0f} ms a second (t = {ttft.t:.1f})"
    )


def ramp_up_s(records: Sequence[RequestRecord], now_s: float) -> float:
    """When the system may be taken as filled, in seconds since the window's start. Unfinished requests count with their age."""
    early = sorted(records, key=lambda record: record.planned_s)[:EARLY]
    return RAMP_UP * median((now_s if record.finished_s is None else record.finished_s) - record.planned_s for record in early)


def backlog_trend(records: Sequence[RequestRecord], start_s: float, now_s: float) -> Trend | None:
    """Drift of the number of unfinished requests. None where nothing arrived."""
    arrivals = sorted(record.planned_s for record in records)
    finishes = sorted(record.finished_s for record in records if record.finished_s is not None)
    times = [start_s + index * (now_s - start_s) / INCREMENTS for index in range(INCREMENTS + 1)]
    arrived = bisect_right(arrivals, now_s) - bisect_right(arrivals, start_s)
    if arrived == 0:
        return None
    levels = [bisect_right(arrivals, time_s) - bisect_right(finishes, time_s) for time_s in times]
    steps = [after - before for before, after in pairwise(levels)]
    return Trend((levels[-1] - levels[0]) / arrived, _t(fmean(steps), stdev(steps) / math.sqrt(len(steps))))


def ttft_trend(records: Sequence[RequestRecord], start_s: float, now_s: float) -> Trend | None:
    """Growth of the time to first token with the planned arrival: least squares through the means of SLICES equal slices.

    Up to the last arrival that has a first token: those after it still wait, and their age so far says little. One that was overtaken
    counts with its age. None where a slice has no arrival.
    """
    end_s = max((record.planned_s for record in records if record.token_times_s), default=start_s)
    if end_s <= start_s:
        return None
    width_s = (end_s - start_s) / SLICES
    waits: list[list[float]] = [[] for _ in range(SLICES)]
    for record in records:
        if start_s <= record.planned_s <= end_s:
            first_s = record.token_times_s[0] if record.token_times_s else now_s
            waits[min(SLICES - 1, int((record.planned_s - start_s) / width_s))].append(first_s - record.planned_s)
    if not all(waits):
        return None
    means = [fmean(items) for items in waits]
    centre, level = (SLICES - 1) / 2, fmean(means)
    spread = sum((index - centre) ** 2 for index in range(SLICES))
    slope = sum((index - centre) * (value - level) for index, value in enumerate(means)) / spread
    rest = sum((value - level - slope * (index - centre)) ** 2 for index, value in enumerate(means))
    return Trend(slope / width_s, _t(slope, math.sqrt(rest / (SLICES - 2) / spread)))


def _t(estimate: float, error: float) -> float:
    """Without any noise a growth is certain."""
    return estimate / error if error > 0 else math.copysign(math.inf, estimate) if estimate else 0.0
