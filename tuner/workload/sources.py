"""Where a workload's request lengths come from: strict, frozen pydantic models. Lengths are tokens, times seconds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(gt=0)]


class StrictModel(BaseModel):
    """Unknown keys are refused, types are not converted, and a model never changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FixedLength(StrictModel):
    """Always `value` tokens."""

    kind: Literal["fixed"] = "fixed"
    value: PositiveInt


class UniformLength(StrictModel):
    """Each whole number from `low` to `high`, both included, equally often."""

    kind: Literal["uniform"] = "uniform"
    low: PositiveInt
    high: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not be above high {self.high}")
        return self


class LognormalLength(StrictModel):
    """exp(N(ln `median`, `sigma`)), rounded, then moved into [`low`, `high`]."""

    kind: Literal["lognormal"] = "lognormal"
    median: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    low: PositiveInt = 1
    high: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.median <= self.high:
            raise ValueError(f"median {self.median:g} must lie between low {self.low} and high {self.high}")
        return self


LengthDistribution = Annotated[FixedLength | UniformLength | LognormalLength, Field(discriminator="kind")]


class SyntheticSource(StrictModel):
    """Seeded random lengths.

    The first round(`prefix_share` x input) tokens of a prompt come from its group's common stream; the groups take turns.
    """

    kind: Literal["synthetic"] = "synthetic"
    input: LengthDistribution
    output: LengthDistribution
    num_prompts: PositiveInt
    prefix_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    prefix_groups: PositiveInt = 1


class FileSource(StrictModel):
    """What every recorded source has in common. `path` is relative to the working directory.

    A request longer than a limit is shortened to it (`clip`) or left out and counted (`skip`).
    """

    path: Annotated[str, Field(min_length=1)]
    max_requests: PositiveInt | None = None
    max_input_tokens: PositiveInt | None = None
    max_output_tokens: PositiveInt | None = None
    too_long: Literal["clip", "skip"] = "skip"


class TraceSource(FileSource):
    """A recorded trace with arrival times. Arrivals are multiplied by `time_scale`: 0.5 sends twice as fast."""

    time_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    max_duration_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # of the trace's own time, before scaling


class AzureSource(TraceSource):
    """CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens (Azure/AzurePublicDataset, LLM inference traces of 2023)."""

    kind: Literal["azure"] = "azure"


class MooncakeSource(TraceSource):
    """JSON lines with timestamp (ms), input_length, output_length, hash_ids: one id per 512-token prompt block (kvcache-ai/Mooncake)."""

    kind: Literal["mooncake"] = "mooncake"


class LengthsSource(FileSource):
    """CSV with a header, or JSON lines, of input_length and output_length, e.g. made from ShareGPT. No arrival times."""

    kind: Literal["lengths"] = "lengths"


Source = Annotated[SyntheticSource | AzureSource | MooncakeSource | LengthsSource, Field(discriminator="kind")]


class Load(StrictModel):
    """How the requests are sent: closed loop (`max_concurrency`) or open loop (`request_rate`), never both. Names as in `vllm bench serve`.

    `request_rate` is requests/s, "inf" sends all at once; `burstiness` 1 is Poisson, below 1 more bursty, above more even.
    """

    max_concurrency: PositiveInt | None = None
    request_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["inf"] | None = None
    burstiness: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.max_concurrency is None) == (self.request_rate is None):
            raise ValueError("give either max_concurrency (closed loop) or request_rate (open loop)")
        if self.burstiness != 1.0 and not isinstance(self.request_rate, float | int):
            raise ValueError("burstiness needs a finite request_rate")
        return self
