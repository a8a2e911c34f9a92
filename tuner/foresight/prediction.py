"""What a configuration is predicted to do: metrics of a simulated window, how sure that is, and its settings for `vllm serve`. Pure.

It is kept as a storage.records.ForesightAnswer of the kind "configuration", never as a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.records import ForesightAnswer
from tuner.core.factors import Factors
from tuner.engine.wire_fields import WrongFields, from_fields, to_fields
from tuner.foresight.question import key_of

Json = dict[str, Any]
KIND = "configuration"

# Beside those of the search's objectives and SLOs.
METRICS = (
    "total_token_throughput",
    "output_token_throughput",
    "request_throughput",
    "ttft_p50_ms",
    "ttft_p99_ms",
    "tpot_p50_ms",
    "tpot_p99_ms",
    "e2el_p99_ms",
    "mean_step_ms",
)


@dataclass(frozen=True)
class Span:
    """`value` where steps take as long as predicted; it lies between `low` and `high` where all of them are as quick, or as slow, as the
    step times' interval allows."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class StepTimeError:
    """`source`: where the step times come from, in words. true / predicted seconds lie between `low` and `high` in 90 % of cases.
    `held_out`: what that was seen on, and `median_error` the median of |predicted / measured - 1| there; None: not known."""

    source: str
    low: float
    high: float
    held_out: str
    median_error: float | None

    @property
    def sentence(self) -> str:
        """For people."""
        error = "" if self.median_error is None else f", median error {self.median_error:.1%}"
        return f"step times {self.source}; true / predicted in {self.low:.2f} to {self.high:.2f} (90 %; {self.held_out}{error})"


@dataclass(frozen=True)
class Prediction:
    """`limits`: the SLOs that goodput was counted under. `request_rate`: the arrivals were stretched to it; None: the workload's own.
    `changes`: tuner.verdict.answer.Change. `factors`: further levels, by name. `family`: equal for predictions that may be compared."""

    block_size: int
    max_num_batched_tokens: int
    arm: str
    metrics: dict[str, Span]
    step_times: StepTimeError
    workload_hash: str
    workload_name: str
    request_rate: float | None
    limits: tuple[str, ...]
    config: Json
    vllm_args: tuple[str, ...]
    env: Json
    changes: tuple[Json, ...]
    versions: Json
    family: str
    factors: Json = field(default_factory=dict)


def family_of(question: Json) -> str:
    """Of a question without the configuration that it is about."""
    return key_of({"family": question})


def configuration_question(family: Json, block_size: int, max_num_batched_tokens: int, arm: str, factors: Factors = ()) -> Json:
    """All that a prediction depends on."""
    further = [dict(factors)] if factors else []
    return {"family": family, "configuration": [block_size, max_num_batched_tokens, arm, *further]}


def as_stored(found: Prediction, question: Json, *, model: str, accelerator: str, device_count: int) -> ForesightAnswer:
    return ForesightAnswer(
        key=key_of(question),
        kind=KIND,
        model=model,
        accelerator=accelerator,
        device_count=device_count,
        question=question,
        answer=to_fields(found) | {"metrics": {name: to_fields(span) for name, span in found.metrics.items()}},
    )


def as_read(stored: ForesightAnswer) -> Prediction | None:
    """None where it was written by another version."""
    try:
        return from_fields(Prediction, {"factors": {}, **stored.answer})  # before 2026-12 there were none
    except (WrongFields, TypeError, AttributeError):
        return None


def readable(stored: Sequence[ForesightAnswer]) -> list[tuple[ForesightAnswer, Prediction]]:
    """Those that this version understands."""
    return [(item, found) for item in stored if (found := as_read(item)) is not None]
