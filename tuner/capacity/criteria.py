"""What a measured window says of each SLO, and of whether the engine keeps up: the readings that tuner.stats.edge judges by. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from storage.records import Json
from tuner.core.contract import LoadPlan, WindowResult
from tuner.core.errors import BadInput
from tuner.metrics.catalog import metric_info
from tuner.metrics.objective import Slo
from tuner.metrics.window import metric_value, request_values_ms
from tuner.stats.edge import Count, Ratio, Reading, Side

KEEPS_UP = "keeps_up"
LEAST_SERVED = 0.5  # of the rate that arrives; below it the window mostly waits for its last requests
_OF_REQUESTS = re.compile(r"(ttft|tpot|e2el)_p(\d+)_ms")


def check_slos(slos: Sequence[Slo]) -> None:
    """Raises BadInput where there is none, or one that more load does not make worse."""
    if not slos:
        raise BadInput("a capacity needs a limit that has to hold", setting="slo", fix="add for instance --slo 'ttft_p99_ms<=500'")
    for slo in slos:
        info = metric_info(slo.metric)
        if never := slo.never_met():
            raise BadInput(never, setting="slo")
        if info.unit != "ms" and slo.metric not in ("preemptions", "prefix_cache_hit_rate"):
            reason = f"{slo.metric} does not get worse with the load, so it has no highest load"
            raise BadInput(reason, setting="slo", value=f"{slo}:", fix="limit a latency, for instance ttft_p99_ms<=500")


def keeps_up(result: WindowResult, plan: LoadPlan) -> bool:
    """False where the window was stopped as saturated (tuner.workload.saturation), or served less than half of the rate that arrived."""
    return result.stopped is None and result.duration_s * LEAST_SERVED <= plan.last_arrival_s


def readings_of(result: WindowResult, metrics: Mapping[str, float], slos: Sequence[Slo], *, kept_up: bool | None) -> dict[str, Reading]:
    """By SLO, and KEEPS_UP, unless `kept_up` is None (a closed loop). A window that was stopped says nothing of the SLOs: its latencies
    are as long as it lasted.

    Raises TrialFailed where an SLO's metric was not measured.
    """
    readings: dict[str, Reading] = {} if kept_up is None else {KEEPS_UP: Side(kept_up)}
    if result.stopped is not None:
        return readings
    return readings | {str(slo): _reading(result, metrics, slo) for slo in slos}


def _reading(result: WindowResult, metrics: Mapping[str, float], slo: Slo) -> Reading:
    value = metric_value(metrics, slo.metric)
    of_requests = _OF_REQUESTS.fullmatch(slo.metric)
    if of_requests is not None and result.requests and value > 0 and slo.limit > 0:
        values = request_values_ms(result, of_requests[1])
        above = sum(not slo.is_met(item) for item in values)
        return Count(above, len(values), 1 - int(of_requests[2]) / 100, math.log(value / slo.limit))
    if value <= 0 or slo.limit <= 0:
        return Side(slo.is_met(value))
    excess = math.log(value / slo.limit) if slo.operator.startswith("<") else math.log(slo.limit / value)
    return Ratio(excess) if (excess <= 0) == slo.is_met(value) else Side(slo.is_met(value))


def failed(readings: Mapping[str, Reading]) -> list[str]:
    """The criteria that did not hold, in words."""
    return ["the engine does not keep up" if name == KEEPS_UP else str(name) for name, reading in readings.items() if not reading.held]


def to_json(readings: Mapping[str, Reading]) -> Json:
    """Inverse of from_json."""
    return {name: _plain(reading) for name, reading in readings.items()}


def _plain(reading: Reading) -> Json:
    match reading:
        case Ratio(excess):
            return {"excess": excess}
        case Count(above, total, allowed, excess):
            return {"above": above, "total": total, "allowed": allowed, "excess": excess}
        case Side(held):
            return {"held": held}


def from_json(stored: Json) -> dict[str, Reading]:
    """Raises BadInput for what was not written by `to_json`."""
    try:
        return {name: _read(item) for name, item in stored.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput("what is stored of a window is damaged", fix="measure again, without --resume") from error


def _read(item: Json) -> Reading:
    if "above" in item:
        return Count(int(item["above"]), int(item["total"]), float(item["allowed"]), float(item["excess"]))
    if "excess" in item:
        return Ratio(float(item["excess"]))
    return Side(bool(item["held"]))
