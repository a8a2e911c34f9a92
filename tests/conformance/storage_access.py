"""The storage contract as tests, third part: API tokens and the audit trail."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from storage.base import Conflict, InvalidRecord, NotFound, Storage
from storage.records import Actor
from tests.storage.builders import ANNA, a_token


class AccessContract:
    def test_a_token_comes_back(self, storage: Storage) -> None:
        stored = storage.add_token(a_token(expires_at=99.5), by=ANNA)
        assert replace(stored, id=0, created_at=0.0) == a_token(expires_at=99.5)
        assert 0 < stored.created_at <= time.time()
        assert storage.get_token("k1") == stored
        assert storage.list_tokens() == [stored]
        with pytest.raises(NotFound) as raised:
            storage.get_token("k2")
        assert "k2" not in str(raised.value)

    @pytest.mark.parametrize("changes", [{"name": ""}, {"name": "n" * 256}, {"digest": "short"}])
    def test_impossible_tokens_are_refused(self, storage: Storage, changes: dict[str, str]) -> None:
        with pytest.raises(InvalidRecord):
            storage.add_token(a_token(**changes), by=ANNA)
        assert not storage.list_tokens()
        assert not storage.list_audit()

    def test_a_name_is_taken_until_it_is_revoked(self, storage: Storage) -> None:
        storage.add_token(a_token(), by=ANNA)
        with pytest.raises(Conflict):
            storage.add_token(a_token(key="k2"), by=ANNA)
        with pytest.raises(Conflict):
            storage.add_token(a_token(name="other"), by=ANNA)
        [revoked] = storage.revoke_token("ci", by=ANNA)
        assert revoked.revoked_at is not None
        assert not revoked.in_force(time.time())
        again = storage.add_token(a_token(key="k2"), by=ANNA)
        assert storage.list_tokens() == [revoked, again]

    def test_a_rotated_token_lives_on_until_told(self, storage: Storage) -> None:
        storage.add_token(a_token(), by=ANNA)
        until = time.time() + 3600
        fresh = storage.rotate_token(a_token(key="k2"), old_until=until, by=ANNA)
        old = storage.get_token("k1")
        assert old.revoked_at == until
        assert old.in_force(until - 1)
        assert not old.in_force(until)
        assert fresh.revoked_at is None
        assert storage.revoke_token("ci", by=ANNA) == [storage.get_token("k1"), storage.get_token("k2")]
        assert not any(token.in_force(time.time()) for token in storage.list_tokens())

    def test_a_rotation_without_grace_ends_those_of_earlier_ones(self, storage: Storage) -> None:
        storage.add_token(a_token(), by=ANNA)
        now = time.time()
        storage.rotate_token(a_token(key="k2"), old_until=now + 3600, by=ANNA)
        storage.rotate_token(a_token(key="k3"), old_until=now, by=ANNA)
        assert [token.key for token in storage.list_tokens() if token.in_force(now)] == ["k3"]
        storage.rotate_token(a_token(key="k4"), old_until=now + 7200, by=ANNA)
        assert [token.key for token in storage.list_tokens() if token.in_force(now)] == ["k3", "k4"], "and revives none"

    def test_what_is_not_in_force_is_neither_rotated_nor_revoked(self, storage: Storage) -> None:
        for change in (
            lambda: storage.rotate_token(a_token(), old_until=1.0, by=ANNA),
            lambda: storage.revoke_token("ci", by=ANNA),
        ):
            with pytest.raises(NotFound, match="'ci'"):
                change()
        storage.add_token(a_token(), by=ANNA)
        storage.add_token(a_token(name="other", key="k2"), by=ANNA)
        with pytest.raises(Conflict):
            storage.rotate_token(a_token(key="k2"), old_until=1.0, by=ANNA)
        assert storage.get_token("k1").revoked_at is None  # the refused rotation did not revoke the old one
        assert [entry.action for entry in storage.list_audit()] == ["token.create"] * 2

    def test_changes_of_tokens_leave_a_trail(self, storage: Storage) -> None:
        storage.add_token(a_token(), by=ANNA)
        storage.rotate_token(a_token(key="k2"), old_until=1.0, by=Actor("bob"))
        storage.revoke_token("ci", by=Actor("bob", "left the team"))
        entries = storage.list_audit(kind="token", subject="ci")
        assert [(entry.actor, entry.action, entry.reason) for entry in entries] == [
            ("bob", "token.revoke", "left the team"),
            ("bob", "token.rotate", ""),
            ("anna", "token.create", "measured again"),
        ]
        assert storage.list_audit(kind="recommendation") == []
        assert [entry.action for entry in storage.list_audit(limit=1, offset=1)] == ["token.rotate"]
        with pytest.raises(InvalidRecord):
            storage.list_audit(offset=-1)
