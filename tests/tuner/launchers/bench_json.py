"""A result file as `vllm bench serve --save-detailed` writes it, made from the times of requests by its own formulas (numpy, written out
again here from vllm/benchmarks/serve.py so that the reader is checked against something that is not the reader)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.core.contract import LoadPlan, PlannedRequest

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Sent:
    """One request as the benchmark's client saw it, in seconds; `failed` carries its error."""

    start_s: float
    ttft_s: float
    gaps_s: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int
    failed: str = ""


def bench_json(sent: Sequence[Sent], duration_s: float) -> dict[str, Any]:
    good = [request for request in sent if not request.failed]
    latencies = [request.ttft_s + sum(request.gaps_s) for request in sent]
    values = {
        "ttft": [request.ttft_s for request in good],
        "tpot": [sum(request.gaps_s) / (request.output_tokens - 1) for request in good if request.output_tokens > 1],
        "itl": [gap for request in good for gap in request.gaps_s],
        "e2el": [latency for request, latency in zip(sent, latencies, strict=True) if not request.failed],
    }
    prompt, output = sum(request.prompt_tokens for request in good), sum(request.output_tokens for request in good)
    raw: dict[str, Any] = {
        "backend": "vllm",
        "duration": duration_s,
        "completed": len(good),
        "failed": len(sent) - len(good),
        "request_throughput": len(good) / duration_s,
        "output_throughput": output / duration_s,
        "total_token_throughput": (prompt + output) / duration_s,
        "request_goodput": None,
        "input_lens": [request.prompt_tokens for request in sent],
        "output_lens": [0 if request.failed else request.output_tokens for request in sent],
        "ttfts": [request.ttft_s for request in sent],
        "itls": [list(request.gaps_s) for request in sent],
        "latencies": latencies,
        "start_times": [request.start_s for request in sent],
        "errors": [request.failed for request in sent],
    }
    for name, seconds in values.items():
        array = np.array(seconds or 0) * 1000  # theirs: nothing becomes 0
        raw[f"mean_{name}_ms"], raw[f"std_{name}_ms"] = float(np.mean(array)), float(np.std(array))
        raw |= {f"p{percentile}_{name}_ms": float(np.percentile(array, percentile)) for percentile in PERCENTILES}
    return raw


def plan_for(sent: Sequence[Sent], arrivals_s: Sequence[float] | None = None) -> LoadPlan:
    """The plan that such requests came from."""
    requests = tuple(
        PlannedRequest(f"r{index}", tuple(range(request.prompt_tokens)), request.output_tokens, arrivals_s[index] if arrivals_s else 0.0)
        for index, request in enumerate(sent)
    )
    return LoadPlan(requests, None if arrivals_s else len(sent), "0" * 64)
