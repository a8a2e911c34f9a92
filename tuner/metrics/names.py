"""What people call a metric, for sentences. Pure."""

from __future__ import annotations

import re

_SAID = {
    "total_token_throughput": "throughput",
    "output_token_throughput": "output throughput",
    "prompt_token_throughput": "prompt throughput",
    "startup_s": "start-up time",
    "startup_import_s": "start-up time, import",
    "startup_weights_s": "start-up time, weights",
    "startup_compile_s": "start-up time, compilation",
    "mean_step_ms": "step time (mean)",
    "p50_step_ms": "step time (p50)",
    "p99_step_ms": "step time (p99)",
}
_LATENCY = re.compile(r"(ttft|tpot|itl|e2el)_(\w+)_ms")


def said(metric: str) -> str:
    """`ttft_p99_ms` -> "TTFT (p99)", `total_token_throughput` -> "throughput"; any other name with spaces."""
    latency = _LATENCY.fullmatch(metric)
    if latency is not None:
        return f"{latency[1].upper()} ({latency[2]})"
    return _SAID.get(metric) or metric.removesuffix("_ms").replace("_", " ")
