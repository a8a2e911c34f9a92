"""Tokens with few scopes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from storage.base import Storage
from tests.storage.builders import ANNA
from tuner.access.api_tokens import new_token

_numbers = itertools.count()


def token_of(storage: Storage, scopes: Sequence[str], name: str | None = None) -> str:
    """A stored token with these scopes, as its bearer sends it."""
    record, text = new_token(name or f"token-{next(_numbers)}", scopes, now=time.time(), lifetime_s=None)
    storage.add_token(record, by=ANNA)
    return text
