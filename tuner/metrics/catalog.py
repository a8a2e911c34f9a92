"""Every metric we know: its name, unit, natural direction and formula. docs/metrics.md says the same; a test holds them together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from storage.renamed import current_metric
from tuner.core.errors import BadInput
from tuner.core.spelling import did_you_mean

MAX_REQUEST_RATE = "max_request_rate"
MAX_CONCURRENCY = "max_concurrency"
CANARY_MATCH = "canary_match"
CANARY_DIVERGENCE = "canary_divergence"
REQUEST_METRICS = ("ttft", "tpot", "itl", "e2el")
PERCENTILES = (50, 90, 95, 99)
_STATISTICS = ("mean", "std", *(f"p{percentile}" for percentile in PERCENTILES), "max")

_REQUEST_FORMULAS = {
    "ttft": "first token - sent",
    "tpot": "(E2EL - TTFT) / (output tokens - 1); a request with one token has none",
    "itl": "gap between two consecutive tokens of a request, all gaps pooled",
    "e2el": "finished - sent",
}


class Direction(StrEnum):
    """Optuna's words."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"

    @property
    def sign(self) -> int:
        """+1 where more is better, -1 where less is better."""
        return 1 if self is Direction.MAXIMIZE else -1


@dataclass(frozen=True)
class MetricInfo:
    """`positive`: it is above 0 wherever it exists, so a reported 0 stands for "not measured" (benchmarks fill in 0 for want of values)."""

    name: str
    unit: str
    direction: Direction
    formula: str
    positive: bool = False

    def impossible(self, value: float) -> str | None:
        """Why a reported value is no measurement of this metric; None for one that can be."""
        if value < 0:
            return f"{self.name} cannot be below 0"
        return f"0 is not a measurement of {self.name}" if value == 0 and self.positive else None


# May be 0: the spread of equal values, and the gap between two tokens that came in one chunk.
_ZERO_LATENCIES = ("std_ms", *(f"itl_p{p}_ms" for p in PERCENTILES), "itl_max_ms")
_POSITIVE = {
    MAX_REQUEST_RATE,
    MAX_CONCURRENCY,
    "request_throughput",
    "output_token_throughput",
    "prompt_token_throughput",
    "total_token_throughput",
    "mean_step_ms",
    "p50_step_ms",
    "p99_step_ms",
    "scheduled_tokens_per_step",
    "padded_tokens_per_step",
    "startup_s",
}


def _build() -> dict[str, MetricInfo]:
    names = [(name, f"{name}_{statistic}_ms", statistic) for name in REQUEST_METRICS for statistic in _STATISTICS]
    infos = [
        MetricInfo(full, "ms", Direction.MINIMIZE, f"{statistic} of: {_REQUEST_FORMULAS[name]}", not full.endswith(_ZERO_LATENCIES))
        for name, full, statistic in names
    ]
    up, down = Direction.MAXIMIZE, Direction.MINIMIZE
    infos += [
        MetricInfo("request_throughput", "requests/s", up, "completed / window duration"),
        MetricInfo("output_token_throughput", "tokens/s", up, "output tokens of completed requests / window duration"),
        MetricInfo("prompt_token_throughput", "tokens/s", up, "prompt tokens of completed requests / window duration"),
        MetricInfo("total_token_throughput", "tokens/s", up, "prompt and output tokens of completed requests / window duration"),
        MetricInfo("goodput", "requests/s", up, "completed requests that meet every per-request limit / window duration"),
        MetricInfo(MAX_REQUEST_RATE, "requests/s", up, "highest rate of requests at which the SLOs hold (capacity.md)"),
        MetricInfo(MAX_CONCURRENCY, "requests", up, "most requests at once at which the SLOs hold (capacity.md)"),
        MetricInfo("completed", "requests", up, "requests that finished without an error"),
        MetricInfo("failed", "requests", down, "requests that did not"),
        MetricInfo("prefix_cache_hit_rate", "fraction", up, "prompt tokens found in the prefix cache / prompt tokens, completed requests"),
        MetricInfo("preemptions", "count", down, "sum over all requests"),
        MetricInfo("sender_lag_p99_ms", "ms", down, "p99 of: sent - planned, open loop only"),
        MetricInfo("steps", "steps", down, "engine steps that scheduled at least one token"),
        MetricInfo("empty_steps", "steps", down, "engine steps that scheduled none"),
        MetricInfo("mean_step_ms", "ms", down, "mean duration of the non-empty steps"),
        MetricInfo("p50_step_ms", "ms", down, "p50 of the same"),
        MetricInfo("p99_step_ms", "ms", down, "p99 of the same"),
        MetricInfo("scheduled_tokens_per_step", "tokens", up, "scheduled tokens / steps"),
        MetricInfo("padded_tokens_per_step", "tokens", down, "tokens computed by the device, padding included / steps"),
        MetricInfo("padding_share", "fraction", down, "1 - scheduled tokens / padded tokens"),
        MetricInfo("prefill_tokens_per_step", "tokens", up, "prefill tokens / steps"),
        MetricInfo("startup_s", "s", down, "importing vLLM + engine start until it takes requests, of the engine that was measured"),
        MetricInfo("startup_import_s", "s", down, "of these, importing vLLM"),
        MetricInfo("startup_weights_s", "s", down, "of these, building the model and loading its weights (local launcher)"),
        MetricInfo("startup_compile_s", "s", down, "of these, compiling ahead what steps need (local launcher; nothing without a TPU)"),
        MetricInfo(CANARY_MATCH, "fraction", up, "canary tokens equal to the baseline's / those with the same text before them (guard.md)"),
        MetricInfo(CANARY_DIVERGENCE, "nats", down, "mean change of the baseline's canary tokens' log-probabilities (guard.md)"),
    ]
    return {info.name: replace(info, positive=info.positive or info.name in _POSITIVE) for info in infos}


CATALOG: dict[str, MetricInfo] = _build()


def metric_info(name: str) -> MetricInfo:
    """Look a metric up, also by a name that it had once. Raises BadInput with the name that was probably meant, else all names."""
    try:
        return CATALOG[current_metric(name)]
    except KeyError:
        raise BadInput("is unknown", setting="metric", value=repr(name), fix=did_you_mean(name, sorted(CATALOG))) from None
