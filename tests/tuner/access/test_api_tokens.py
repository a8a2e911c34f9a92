from __future__ import annotations

import base64

import pytest

from tuner.access.api_tokens import digest_of, new_token, successor
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


@pytest.mark.parametrize(
    ("made_for_s", "asked_s", "ends_at"), [(90.0, None, 150.0), (90.0, 5.0, 65.0), (None, None, None), (None, 5.0, 65.0)]
)
def test_a_successor_lives_as_long_as_its_predecessor_was_made_for(
    made_for_s: float | None, asked_s: float | None, ends_at: float | None
) -> None:
    old, _ = new_token("ci", ["publish"], now=10.0, lifetime_s=made_for_s)
    fresh, _ = successor(old, now=60.0, lifetime_s=asked_s)
    assert (fresh.name, fresh.scopes, fresh.expires_at) == ("ci", ["publish"], ends_at)


@pytest.mark.parametrize("now", [100.0, 101.0, 1e9])
def test_an_expired_token_is_not_revived(now: float) -> None:
    old, _ = new_token("ci", ["read"], now=10.0, lifetime_s=90.0)
    with pytest.raises(BadInput, match="token 'ci' has expired"):
        successor(old, now=now, lifetime_s=90.0)
