"""Forms that change something. Who sends one types a token into it, so a form on another site's page can do nothing; besides, it is refused
for where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from profiles.tensorboard_guard import same_origin
from service.schemas.history import WithReason
from service.web.checks import Checks
from service.web.errors import Problem
from service.web.limits import client_key
from service.web.settings import ServiceSettings
from storage.records import Actor
from tuner.core.reason import MOST_CHARACTERS

_MEDIA = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20
_LONGEST_TOKEN = 512


class Refused(Exception):
    """A form that is shown again with what is wrong; `field` is "" where it belongs to none."""

    def __init__(self, status: int, field: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.field = field


async def posted(request: Request, settings: ServiceSettings) -> Mapping[str, str]:
    """The fields of a form of our own page, each once. Raises Problem."""
    public = urlsplit(settings.public_url).netloc if settings.public_url else ""
    ours = same_origin(request.headers, [request.headers.get("host", ""), public])
    if not ours or request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Problem(
            HTTPStatus.FORBIDDEN, "a page of another site may not change anything here; behind a proxy name our own with --public-url"
        )
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _MEDIA:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"this takes a form ({_MEDIA}); programs use /v1")
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:  # UnicodeDecodeError is one
        raise Problem(HTTPStatus.BAD_REQUEST, "the form cannot be read") from error
    if len({name for name, _ in pairs}) < len(pairs):
        raise Problem(HTTPStatus.BAD_REQUEST, "a field of the form is given more than once")
    return dict(pairs)


async def signed(request: Request, form: Mapping[str, str], scope: str) -> Actor:
    """Who signs the form, by the token and for the reason in it. Raises Refused, and Problem for a client that guesses."""
    return (await signed_with_scopes(request, form, scope))[0]


async def signed_with_scopes(request: Request, form: Mapping[str, str], scope: str) -> tuple[Actor, frozenset[str]]:
    """`signed`, and all scopes of the token."""
    token = form.get("token", "").strip()
    if not token or len(token) > _LONGEST_TOKEN:
        raise Refused(
            HTTPStatus.UNAUTHORIZED, "token", f"a token with the scope {scope} is needed: tuner token create NAME --scope {scope}"
        )
    checks: Checks = request.app.state.checks
    client = client_key(request.client.host) if request.client is not None else ""
    try:
        known = await checks.holder(token, client)
    except Problem as problem:
        if problem.status != HTTPStatus.UNAUTHORIZED:
            raise
        raise Refused(problem.status, "token", problem.detail) from problem
    if scope not in known.scopes:
        raise Refused(HTTPStatus.FORBIDDEN, "token", f"the token {known.name} lacks the scope {scope}")
    try:
        reason = WithReason(reason=form.get("reason", "").strip()).reason
    except ValidationError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "reason", f"at most {MOST_CHARACTERS} characters, in one line") from error
    return Actor(known.name, reason, request.scope.get("state", {}).get("request_id")), known.scopes


def with_form(response: Response) -> Response:
    """A page that holds such a form: under the policy of all other pages, no-referrer, browsers would not say where it comes from."""
    response.headers["referrer-policy"] = "same-origin"
    return response
