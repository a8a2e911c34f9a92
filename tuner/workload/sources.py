"""Where a workload's request lengths come from: strict, frozen pydantic models. Lengths are tokens, times seconds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tuner.core.numbers import exact

PositiveInt = Annotated[int, Field(gt=0, le=10**9)]  # no number of requests, tokens or turns that makes sense is larger


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
            raise ValueError(f"median {exact(self.median)} must lie between low {self.low} and high {self.high}")
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


ThinkTime = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SessionsSource(StrictModel):
    """Seeded multi-turn sessions: `input` and `output` are the new tokens of each turn, and a prompt is everything before and the new ones
    (tuner.workload.sessions). `think_s`: mean of the exponential time between two requests of a session, in an open loop."""

    kind: Literal["sessions"] = "sessions"
    sessions: PositiveInt
    turns: LengthDistribution
    input: LengthDistribution
    output: LengthDistribution
    shared_prefix: Annotated[int, Field(ge=0)] = 0  # tokens that all sessions begin with
    think_s: ThinkTime = 0.0


class MixPart(StrictModel):
    """One kind of request of a mix, as a SyntheticSource has them. `weight`: how often it comes, next to the others' weights."""

    name: Annotated[str, Field(min_length=1)] | None = None
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    input: LengthDistribution
    output: LengthDistribution
    prefix_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    prefix_groups: PositiveInt = 1


def _as_tuple(given: object) -> object:
    """A list, as files have it, as a tuple; anything else comes back as it is, for pydantic to refuse."""
    return tuple(given) if isinstance(given, list) else given


class MixSource(StrictModel):
    """Requests of several kinds, drawn one by one with the parts' weights (tuner.workload.mix)."""

    kind: Literal["mix"] = "mix"
    num_prompts: PositiveInt
    parts: Annotated[tuple[MixPart, ...], BeforeValidator(_as_tuple), Field(min_length=2)]


class FileSource(StrictModel):
    """What every recorded source has in common. `path` is relative to the working directory.

    A request longer than a limit is shortened to it (`clip`) or left out and counted (`skip`). `bad_rows`: whether a row that cannot be
    read ends everything or is left out and counted.
    """

    path: Annotated[str, Field(min_length=1)]
    max_requests: PositiveInt | None = None
    max_input_tokens: PositiveInt | None = None
    max_output_tokens: PositiveInt | None = None
    too_long: Literal["clip", "skip"] = "skip"
    bad_rows: Literal["refuse", "skip"] = "refuse"


class TraceSource(FileSource):
    """A recorded trace with arrival times. Arrivals are multiplied by `time_scale`: 0.5 sends twice as fast."""

    time_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    max_duration_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # of the trace's own time, before scaling

    @property
    def has_times(self) -> bool:
        return True


class AzureSource(TraceSource):
    """CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens (Azure/AzurePublicDataset, LLM inference traces of 2023 and 2024)."""

    kind: Literal["azure"] = "azure"


class BurstGptSource(TraceSource):
    """CSV with the columns Timestamp (s), Request tokens, Response tokens (HPMLL/BurstGPT). Requests that failed are left out."""

    kind: Literal["burstgpt"] = "burstgpt"


class BlockSource(TraceSource):
    """JSON lines with timestamp, input_length, output_length, hash_ids: one id for each `block_tokens` tokens of the prompt."""

    block_tokens: PositiveInt

    @property
    def unit(self) -> Literal["s", "ms"]:
        raise NotImplementedError


class MooncakeSource(BlockSource):
    """Milliseconds and ids of 512 tokens, unless it says otherwise (kvcache-ai/Mooncake)."""

    kind: Literal["mooncake"] = "mooncake"
    block_tokens: PositiveInt = 512
    time_unit: Literal["s", "ms"] | None = None  # None: ms, refused where that cannot be

    @property
    def unit(self) -> Literal["s", "ms"]:
        return self.time_unit or "ms"


class BailianSource(BlockSource):
    """Seconds and ids of 16 tokens (alibaba-edu/qwen-bailian-usagetraces-anon)."""

    kind: Literal["bailian"] = "bailian"
    block_tokens: PositiveInt = 16

    @property
    def unit(self) -> Literal["s", "ms"]:
        return "s"


class ColumnsSource(TraceSource):
    """Any CSV, TSV, JSON lines or JSON list whose rows have the lengths under these names, and perhaps the time of arrival: seconds,
    milliseconds, or dates ("iso")."""

    kind: Literal["columns"] = "columns"
    input: Annotated[str, Field(min_length=1)]
    output: Annotated[str, Field(min_length=1)]
    time: Annotated[str, Field(min_length=1)] | None = None
    time_unit: Literal["s", "ms", "iso"] = "s"

    @property
    def has_times(self) -> bool:
        return self.time is not None


class LengthsSource(FileSource):
    """CSV with a header, or JSON lines, of input_length and output_length, e.g. made from ShareGPT. No arrival times."""

    kind: Literal["lengths"] = "lengths"


class ConversationsSource(FileSource):
    """JSON list or JSON lines of conversations as ShareGPT has them; of each the first question and answer, or up to `turns` of them as a
    session (see SessionsSource). No arrival times.

    Tokens are estimated: characters / `chars_per_token`.
    """

    kind: Literal["sharegpt"] = "sharegpt"
    chars_per_token: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    turns: PositiveInt = 1
    think_s: ThinkTime = 0.0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.turns > 1 and (self.max_input_tokens, self.max_output_tokens) != (None, None):
            raise ValueError("max_input_tokens and max_output_tokens do not go with turns: a session ends where it does not fit")
        if self.turns == 1 and self.think_s:
            raise ValueError("think_s needs turns above 1")
        return self


Source = Annotated[
    SyntheticSource
    | SessionsSource
    | MixSource
    | AzureSource
    | BurstGptSource
    | MooncakeSource
    | BailianSource
    | ColumnsSource
    | LengthsSource
    | ConversationsSource,
    Field(discriminator="kind"),
]


class Burst(StrictModel):
    """In the last `length_s` of each `every_s` seconds requests come `factor` times as fast."""

    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    every_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    length_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _shorter(self) -> Self:
        if self.length_s >= self.every_s:
            raise ValueError("length_s must be below every_s")
        return self


class Load(StrictModel):
    """How the requests are sent: closed loop (`max_concurrency`) or open loop (`request_rate`), never both. Names as in `vllm bench serve`.

    `request_rate` is requests/s, "inf" sends all at once; `burstiness` 1 is Poisson, below 1 more bursty, above more even. The rate is
    constant, or rises (falls) evenly from `request_rate` to `ramp_to` over the window, or has bursts above it.
    """

    max_concurrency: PositiveInt | None = None
    request_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["inf"] | None = None
    burstiness: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    ramp_to: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    burst: Burst | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.max_concurrency is None) == (self.request_rate is None):
            raise ValueError("give either max_concurrency (closed loop) or request_rate (open loop)")
        if self.burstiness != 1.0 and not isinstance(self.request_rate, float | int):
            raise ValueError("burstiness needs a finite request_rate")
        if self.is_shaped and not isinstance(self.request_rate, float | int):
            raise ValueError("ramp_to and burst need a finite request_rate")
        if self.ramp_to is not None and self.burst is not None:
            raise ValueError("give either ramp_to or burst")
        return self

    @property
    def is_shaped(self) -> bool:
        """Whether the rate changes within the window."""
        return self.ramp_to is not None or self.burst is not None


DRAWN: dict[type[StrictModel], str] = {SyntheticSource: "num_prompts", MixSource: "num_prompts", SessionsSource: "sessions"}
"""Sources that are drawn, not read from a file -> the field that says how many requests (or sessions) they have."""
