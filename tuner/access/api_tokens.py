"""API tokens: made here, shown once, kept as a hash.

A token is KEY.SECRET: KEY (8 random bytes) finds it in the database, SECRET (32 random bytes) proves it. A plain SHA-256 of it is stored:
slow hashes and salts protect secrets that can be guessed, and 256 random bits cannot.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from storage.records import ApiToken
from tuner.core.errors import BadInput

SCOPES = ("read", "publish", "manage", "submit")
OPERATOR = "environment"  # the audit trail's name for the bearer of TUNER_API_TOKEN


def new_token(name: str, scopes: Sequence[str], *, now: float, lifetime_s: float | None) -> tuple[ApiToken, str]:
    """What to store, and the token to show once. Raises BadInput for an empty name or list of scopes, or an unknown scope."""
    if not name or name != name.strip() or not name.isprintable() or len(name) > 255:
        raise BadInput(f"token name {name!r} must be 1 to 255 printable characters without spaces at its ends")
    if name == OPERATOR or name.startswith("cli:"):
        raise BadInput(f"token name {name!r} stands for somebody else in the audit trail; choose another")
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise BadInput(f"token scopes {', '.join(unknown) or 'none'}: use one or more of {', '.join(SCOPES)}")
    key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    text = f"{key}.{secret}"
    expires_at = None if lifetime_s is None else now + lifetime_s
    kept = [scope for scope in SCOPES if scope in scopes]
    return ApiToken(name, key, digest_of(text), kept, created_at=now, expires_at=expires_at), text


def successor(old: ApiToken, *, now: float, lifetime_s: float | None) -> tuple[ApiToken, str]:
    """As `new_token`, with the name and scopes of `old`. Without `lifetime_s` it lives as long as `old` was made for: no token gets
    eternal by being replaced. Raises BadInput for one that has expired."""
    if not old.in_force(now):
        raise BadInput(f"token {old.name!r} has expired; end it with `tuner token revoke` and create a new one")
    if lifetime_s is None and old.expires_at is not None:
        lifetime_s = old.expires_at - old.created_at
    return new_token(old.name, old.scopes, now=now, lifetime_s=lifetime_s)


def digest_of(token: str) -> str:
    """SHA-256 in hexadecimal of the whole token."""
    return hashlib.sha256(token.encode()).hexdigest()
