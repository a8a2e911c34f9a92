"""The result JSON of `vllm bench serve --save-detailed` as request records and as metrics under our names. Pure.

A metric that does not exist is left out, never 0. The benchmark itself uses `np.mean(values or 0)` (vllm/benchmarks/serve.py,
calculate_metrics), so a run in which every request failed has a TTFT of 0 ms there, and a search for low latency would choose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from tuner.core.contract import Json, LoadPlan, PlannedRequest, RequestRecord
from tuner.core.errors import FailureClass, TrialFailed
from tuner.metrics.catalog import PERCENTILES, REQUEST_METRICS

_LISTS = ("start_times", "ttfts", "itls", "latencies", "input_lens", "output_lens", "errors")
_TOTALS = {
    "completed": "completed",
    "failed": "failed",
    "request_throughput": "request_throughput",
    "output_throughput": "output_token_throughput",
    "total_token_throughput": "total_token_throughput",
}


@dataclass(frozen=True)
class BenchWindow:
    """`requests` in plan order. `merged_tokens`: tokens that came together with another one in a chunk, so that their own time is unknown;
    they carry the time of the request's last chunk (TTFT, TPOT and E2EL are exact, the ITL of `reported` is vLLM's, over chunks)."""

    requests: tuple[RequestRecord, ...]
    duration_s: float
    reported: dict[str, float]
    merged_tokens: int


def sending_order(plan: LoadPlan) -> list[int]:
    """Indices of the plan's requests in the order in which the benchmark sends them: by arrival, else as planned."""
    return sorted(range(len(plan.requests)), key=lambda index: plan.requests[index].arrival_s)


def read_bench_result(raw: Json, plan: LoadPlan) -> BenchWindow:
    """Raises TrialFailed: REQUEST_FAILED where any request failed, INVALID_MEASUREMENT where the result is not one of this plan."""
    order = sending_order(plan)
    lists = _lists(raw, len(order))
    _refuse_failures(raw, lists)
    duration_s = _number(raw, "duration")
    origin_s = min(
        start - plan.requests[index].arrival_s for start, index in zip(lists["start_times"], order, strict=True)
    )  # the benchmark does not say when it began; the most punctual request tells
    records: dict[int, RequestRecord] = {}
    for position, index in enumerate(order):
        records[index] = _record(plan.requests[index], {name: lists[name][position] for name in _LISTS}, origin_s)
    tokens, chunks = sum(lists["output_lens"]), sum(1 + len(gaps) for gaps in lists["itls"])
    return BenchWindow(tuple(records[index] for index in range(len(order))), duration_s, _reported(raw, lists), tokens - chunks)


def _lists(raw: Json, count: int) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {}
    for name in _LISTS:
        values = raw.get(name)
        if not isinstance(values, list) or len(values) != count:
            found = f"{len(values)} entries" if isinstance(values, list) else "none"
            raise _invalid(f"vllm bench serve reports {name} for {count} requests with {found}; --save-detailed is needed")
        lists[name] = values
    return lists


def _refuse_failures(raw: Json, lists: dict[str, list[Any]]) -> None:
    failed = [index for index, tokens in enumerate(lists["output_lens"]) if not tokens]
    reported = int(_number(raw, "failed"))
    if failed or reported:
        errors = [str(lists["errors"][index]).strip() for index in failed]
        reason = next((error.splitlines()[-1] for error in errors if error), "no reason given")
        raise TrialFailed(
            FailureClass.REQUEST_FAILED, f"{max(len(failed), reported)} of {len(lists['errors'])} requests failed: {reason[:300]}"
        )


def _record(request: PlannedRequest, seen: Json, origin_s: float) -> RequestRecord:
    tokens, gaps = int(seen["output_lens"]), seen["itls"]
    for what, found, planned in (
        ("prompt", seen["input_lens"], len(request.prompt_token_ids)),
        ("output", tokens, request.max_tokens),
    ):
        if found != planned:
            raise _invalid(f"request {request.request_id}: {found} {what} tokens instead of the planned {planned}")
    if 1 + len(gaps) > tokens:
        raise _invalid(
            f"request {request.request_id}: {1 + len(gaps)} chunks for {tokens} tokens, so their times are not the tokens' times"
        )
    sent_s = max(request.arrival_s, float(seen["start_times"]) - origin_s)
    times_s = list(accumulate([sent_s + float(seen["ttfts"]), *map(float, gaps)]))
    times_s += [times_s[-1]] * (tokens - len(times_s))
    return RequestRecord(
        request_id=request.request_id,
        prompt_tokens=len(request.prompt_token_ids),
        planned_s=request.arrival_s,
        sent_s=sent_s,
        token_times_s=tuple(times_s),
        finished_s=max(times_s[-1], sent_s + float(seen["latencies"])),  # the same instant; the sums round differently
    )


def _reported(raw: Json, lists: dict[str, list[Any]]) -> dict[str, float]:
    """vLLM's numbers under our names, those left out that it fills with 0 for want of values."""
    reported = {ours: _number(raw, theirs) for theirs, ours in _TOTALS.items()}
    exists = {
        "ttft": True,
        "e2el": True,
        "tpot": any(tokens > 1 for tokens in lists["output_lens"]),
        "itl": any(lists["itls"]),
    }
    for metric in REQUEST_METRICS:
        if exists[metric]:
            for statistic in ("mean", "std", *(f"p{percentile}" for percentile in PERCENTILES)):
                reported[f"{metric}_{statistic}_ms"] = _number(raw, f"{statistic}_{metric}_ms")
    return reported


def summary_of(raw: Json) -> Json:
    """The result without its long lists, for a measurement's details."""
    return {name: value for name, value in raw.items() if not isinstance(value, list)}


def _number(raw: Json, name: str) -> float:
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"vllm bench serve reports {name} = {value!r}, which is not a number")
    return float(value)


def _invalid(message: str) -> TrialFailed:
    return TrialFailed(FailureClass.INVALID_MEASUREMENT, message)


def planned_requests(plan: LoadPlan) -> Sequence[Json]:
    """The plan in sending order, as tuner.engine.bench_trace takes it."""
    requests = [plan.requests[index] for index in sending_order(plan)]
    return [
        {"prompt": list(request.prompt_token_ids), "max_tokens": request.max_tokens, "arrival_s": request.arrival_s} for request in requests
    ]
