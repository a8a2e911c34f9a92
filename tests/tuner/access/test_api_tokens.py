from __future__ import annotations

import base64

import pytest

from tuner.access.api_tokens import digest_of, new_token
from tuner.core.errors import BadInput


def test_tokens_are_random_and_only_their_hash_is_kept() -> None:
    pairs = [new_token("ci", ["publish", "read", "read"], now=10.0, lifetime_s=5.0) for _ in range(100)]
    assert len({text for _, text in pairs}) == len({record.key for record, _ in pairs}) == 100
    for record, text in pairs:
        key, secret = text.split(".")
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32
        assert (record.key, record.digest) == (key, digest_of(text))
        assert secret not in repr(record)
        assert (record.scopes, record.expires_at) == (["read", "publish"], 15.0)
        assert record.in_force(14.9) and not record.in_force(15.0)


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("", ["read"]),
        ("a\nb", ["read"]),
        (" a", ["read"]),
        ("n" * 256, ["read"]),
        ("a", []),
        ("a", ["admin"]),
        ("environment", ["read"]),  # the operator in the audit trail
        ("cli:root", ["read"]),
    ],
)
def test_impossible_tokens_are_refused(name: str, scopes: list[str]) -> None:
    with pytest.raises(BadInput):
        new_token(name, scopes, now=0.0, lifetime_s=None)
