"""What may be asked about recommendations, and the one form of every answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import examples
from service.schemas.common import LONGEST, MOST_ID, Moment, Text, patterned
from service.web.paging import PageInfo, PageQuery, Query
from storage.records import Json, PublicationState
from storage.renamed import RENAMED_METRICS
from tuner.advice.distance import MODEL_FEATURES
from tuner.metrics.catalog import CATALOG, Direction
from tuner.metrics.objective import objective_names, parse_objectives, parse_slo
from tuner.verdict import answer

_MOST = 8
_NAMES = sorted({*CATALOG, *objective_names(), *RENAMED_METRICS})  # names of before are still understood
_METRIC = f"({'|'.join(_NAMES)})"
_MORE_IS_BETTER = f"({'|'.join(name for name in _NAMES if parse_objectives(name)[0].direction is Direction.MAXIMIZE)})"
_OBJECTIVE = f"^{_METRIC}(,{_METRIC}){{0,3}}$"
_SLO = rf"^({_METRIC}(<=|<)|{_MORE_IS_BETTER}(>=|>))[0-9]{{1,9}}(\.[0-9]{{1,6}})?$"
_LIMIT = "write the limit with the digits 0 to 9 alone, at most nine and six more after a point"
_VERSION = r"^[a-z_]{1,40}=[0-9A-Za-z.+-]{1,50}$"


_Text = Annotated[str, Field(max_length=LONGEST)]
_Objective = Annotated[_Text, *patterned(_OBJECTIVE, parse_objectives, "throughput", "name one to four metrics, apart by commas")]
_Slo = Annotated[_Text, *patterned(_SLO, parse_slo, "ttft_p99_ms<=500", _LIMIT)]
_Version = Annotated[_Text, *patterned(_VERSION, str, "vllm=0.32.0", "write package=version")]
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
_MOST_SIZE = 10_000_000
_Tokens = Annotated[float, Field(gt=0, le=1e9)]
Form = Literal["yaml", "flags", "env", "kubernetes"]
Accept = Literal["exact", "nearest", "predicted", "default"]


class Answer(answer.Answer):
    """One recommendation, vLLM's default, or none; always with the reason, what it holds for, and whether it still does."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ANSWER]})

    created_at_rfc3339: Moment = None
    published_at_rfc3339: Moment = None
    withdrawn_at_rfc3339: Moment = None
    links: dict[str, str]


class ModelQuery(Query):
    """The architecture, for a model that was not measured here: numbers of its config.json. Without the first five nothing is near."""

    layers: Annotated[int | None, Field(ge=1, le=_MOST_SIZE, description="num_hidden_layers", examples=[28])] = None
    hidden_size: Annotated[int | None, Field(ge=1, le=_MOST_SIZE, examples=[1024])] = None
    heads: Annotated[int | None, Field(ge=1, le=_MOST_SIZE, description="num_attention_heads", examples=[16])] = None
    kv_heads: Annotated[int | None, Field(ge=1, le=_MOST_SIZE, description="num_key_value_heads", examples=[8])] = None
    head_size: Annotated[int | None, Field(ge=1, le=_MOST_SIZE, description="head_dim", examples=[128])] = None
    attention: Literal["full", "sliding", "mla", "hybrid"] | None = None
    dtype: Annotated[_Word | None, Field(examples=["bfloat16"])] = None
    quantization: Annotated[_Word | None, Field(description="quant_method, or none.", examples=["none"])] = None
    experts: Annotated[int | None, Field(ge=0, le=_MOST_SIZE, description="0: dense.", examples=[0])] = None
    experts_per_token: Annotated[int | None, Field(ge=0, le=_MOST_SIZE, examples=[0])] = None

    def features(self) -> Json | None:
        """As tuner.advice.distance.MODEL_FEATURES; None where nothing is said."""
        given: Json = {name: value for name in MODEL_FEATURES if (value := getattr(self, name)) is not None}
        if given.get("quantization") == "none":
            given["quantization"] = None
        return given or None


class RecommendationQuery(ModelQuery):
    """What is to be served, on what, under which traffic."""

    model: Annotated[Text, Field(description="As given to `vllm serve`.", examples=["Qwen/Qwen3-0.6B"])]
    accelerator: Annotated[Text | None, Field(examples=["TPU v6e-1"])] = None
    device_count: Annotated[int | None, Field(ge=1, le=65536, examples=[1])] = None
    workload: Annotated[Text | None, Field(description="Name or content hash.", examples=["chat"])] = None
    input_tokens: Annotated[_Tokens | None, Field(description="Median prompt length, for a workload without a name.", examples=[300])] = (
        None
    )
    output_tokens: Annotated[_Tokens | None, Field(description="Median output length.", examples=[150])] = None
    request_rate: Annotated[float | None, Field(gt=0, le=1e9, description="Requests/s.", examples=[4.0])] = None
    max_concurrency: Annotated[int | None, Field(ge=1, le=MOST_ID, examples=[32])] = None
    prefix_share: Annotated[float | None, Field(ge=0, le=1, description="Fraction of a prompt in a shared prefix.", examples=[0.5])] = None
    objective: Annotated[_Objective | None, Field(examples=["throughput"])] = None
    slo: Annotated[tuple[_Slo, ...], Field(max_length=_MOST, description="Limits to keep.", examples=[["ttft_p99_ms<=500"]])] = ()
    version: Annotated[
        tuple[_Version, ...],
        Field(max_length=_MOST, description="package=version in use, else those of the service; others make an answer stale."),
    ] = ()
    max_age_days: Annotated[float | None, Field(gt=0, le=36500, description="Older evidence is called stale.", examples=[30])] = None


class AnswerQuery(RecommendationQuery):
    accept: Annotated[
        Literal["predicted"] | None,
        Field(description="Where nothing was measured, also what was simulated, with status predicted and its error; else vLLM's default."),
    ] = None


class ConfigQuery(RecommendationQuery):
    format: Form = "yaml"
    accept: Annotated[
        Accept,
        Field(
            description="The weakest answer to take: measured for exactly this, carried over from what is near, only predicted, or vLLM's "
            "default (which takes no prediction)."
        ),
    ] = "exact"


class StoredQuery(PageQuery):
    model: Annotated[Text | None, Field(description="Only of this model.")] = None
    accelerator: Text | None = None
    q: Annotated[Text | None, Field(description="Stands in the model, objective, study, one of its tags or workload, in any case.")] = None
    publication: Annotated[PublicationState | None, Field(description="Only in this state.")] = None
    withdrawn: Annotated[bool, Field(description="Also those that were withdrawn.")] = False


class AnswerPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.ANSWER_PAGE]})

    items: list[Answer]
    page: PageInfo
