"""What several answers share: examples, problem documents, parameters that name something stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from service.web.errors import MEDIA_TYPE
from storage.records import Json
from tuner.core.errors import BadInput

LONGEST = 200  # letters of a text with a pattern
_NO_SPACES = "write it without spaces"
MOST_ID = 2**31 - 1  # what an INTEGER column of PostgreSQL holds

Id = Annotated[int, Path(ge=1, le=MOST_ID, examples=[1])]
StudyName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$", examples=["qwen3-chat"])]
Moment = Annotated[str | None, Field(description="The time before it by RFC 3339.", json_schema_extra={"format": "date-time"})]
Text = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]


def rfc3339(seconds: float | None) -> str | None:
    """Unix seconds as text, UTC, with milliseconds; None also for what is no time of our calendar."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def with_moments(document: Json, names: Iterable[str]) -> Json:
    """The times `names` (Unix seconds) have text beside them: NAME_rfc3339."""
    return document | {f"{name}_rfc3339": rfc3339(document[name]) for name in names if name in document}


def patterned(pattern: str, read: Callable[[str], object], example: str, rule: str = _NO_SPACES) -> tuple[Any, ...]:
    """The pattern for the OpenAPI document, and an error in the place of it that a reader can use: the tuner's own where it has one, else
    `rule`, which says in words what the pattern asks beyond the tuner."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text):
            return text
        try:
            read(text)
        except BadInput as error:
            raise PydanticCustomError("bad_input", "{message}", {"message": str(error)}) from None
        said = _NO_SPACES if re.search(r"\s", text) else rule
        raise PydanticCustomError("bad_input", "{said}, for instance {example}", {"said": said, "example": example})

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": pattern, "maxLength": LONGEST})


class ProblemDocument(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:tuner:problem:not-found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["study 'qwen': no such study"])


_SAID = {
    304: "Not changed since the ETag in If-None-Match",
    400: "Not a request that means anything",
    401: "A token is needed, or it is not known",
    403: "The token lacks the scope",
    404: "Not stored here",
    405: "Not with this method",
    406: "Not in this form",
    408: "The body came too slowly",
    409: "Contradicts what is stored",
    413: "The body is too large",
    415: "The body is not JSON",
    414: "The address is too long",
    421: "Not under this host name",
    422: "A parameter is wrong; `errors` says which",
    429: "Too many requests; see Retry-After",
    431: "The headers are too large",
    503: "The database cannot be used just now",
}
_ANYWHERE = (400, 401, 403, 405, 414, 421, 422, 429, 431, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these, and those that the gate may give to any request."""
    return {status: _response(status) for status in sorted({*statuses, *_ANYWHERE})}


def _response(status: int) -> dict[str, Any]:
    if status == 304:
        return {"description": _SAID[status]}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {"description": _SAID[status], "content": content}
