"""Who asks, and what they may: tokens with scopes. A token is known here by its SHA-256 only, and is compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request
from fastapi.security import HTTPBearer

from service.web.errors import Problem
from tuner.access.api_tokens import OPERATOR, SCOPES, digest_of

SCOPE_READ = "read"
SCOPE_PUBLISH = "publish"
SCOPE_MANAGE = "manage"  # studies
SCOPE_SUBMIT = "submit"  # studies for the workers of the fleet
CHALLENGE = {"www-authenticate": 'Bearer realm="tuner", Basic realm="tuner", charset="UTF-8"'}
_LONGEST_TOKEN = 512

# Declares the scheme in the OpenAPI document; the gate is what checks.
bearer_scheme = HTTPBearer(
    auto_error=False, description="A token with the scopes `read`, `publish`, `manage` or `submit`, see `tuner token --help`."
)


@dataclass(frozen=True)
class KnownToken:
    """`digest` is the token's SHA-256 in hexadecimal."""

    name: str
    digest: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class Credentials:
    """What a request brought. Browsers send Basic by themselves, also for a form on another site's page: enough to read, never to write."""

    token: str
    by_browser: bool


def scope_needed(scope: str) -> Callable[[Request], Awaitable[str]]:
    """A FastAPI dependency: the name of the token, which has this scope. It raises Problem."""

    async def holder(request: Request) -> str:
        state = request.scope.get("state", {})
        if "token_name" not in state:
            text = f"a token with the scope {scope} is needed: Authorization: Bearer TOKEN"
            raise Problem(401, text, headers={"www-authenticate": "Bearer"})
        if scope not in state["scopes"]:
            raise Problem(403, f"the token lacks the scope {scope}, or came as Basic, which is for reading only")
        return str(state["token_name"])

    return holder


def environment_token(token: str | None) -> list[KnownToken]:
    """The operator's token: every scope."""
    return [] if token is None else [KnownToken(OPERATOR, digest_of(token), frozenset(SCOPES))]


def credentials_of(header: str) -> Credentials | None:
    """From an Authorization header: `Bearer TOKEN`, or `Basic` with the token as the password. None for anything else."""
    scheme, _, rest = header.partition(" ")
    rest = rest.strip()
    if not rest or len(rest) > 2 * _LONGEST_TOKEN:
        return None
    if scheme.lower() == "bearer":
        return Credentials(rest, by_browser=False)
    if scheme.lower() == "basic":
        try:
            _, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return Credentials(password, by_browser=True) if password else None
    return None


def find_token(known: Sequence[KnownToken], token: str) -> KnownToken | None:
    """Compares with all of them even after a match, so that the time taken tells an attacker nothing."""
    digest = digest_of(token)
    found = None
    for item in known:
        if hmac.compare_digest(item.digest, digest):
            found = item
    return found
