"""Pages of a list: `limit` and `offset`, links to the next and the previous page (RFC 8288)."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

MOST_OFFSET = 10_000_000


class Query(BaseModel):
    """A misspelt parameter is refused: ignoring it would answer another question."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(Query):
    limit: Annotated[int, Field(ge=1, le=500, description="Entries a page.")] = 50
    offset: Annotated[int, Field(ge=0, le=MOST_OFFSET, description="Entries to leave out at the front.")] = 0


class PageInfo(BaseModel):
    limit: int
    offset: int
    next: str | None = Field(None, description="Path and query of the next page; null on the last one.")


def page_of[T](found: list[T], page: PageQuery, request: Request, response: Response) -> tuple[list[T], PageInfo]:
    """`found` has one entry more than the page where there is a next page: ask the storage for `limit` + 1. Sets the Link header."""
    links = []
    following = None
    if len(found) > page.limit and page.offset + page.limit <= MOST_OFFSET:
        following = _with_offset(request, page.offset + page.limit)
        links.append(f'<{following}>; rel="next"')
    if page.offset > 0:
        links.append(f'<{_with_offset(request, max(0, page.offset - page.limit))}>; rel="prev"')
    if links:
        response.headers["link"] = ", ".join(links)
    return found[: page.limit], PageInfo(limit=page.limit, offset=page.offset, next=following)


def _with_offset(request: Request, offset: int) -> str:
    kept: list[tuple[str, Any]] = [pair for pair in parse_qsl(request.url.query, keep_blank_values=True) if pair[0] != "offset"]
    return f"{request.url.path}?{urlencode([*kept, ('offset', offset)])}"
