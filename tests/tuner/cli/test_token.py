"""`tuner token`: shown once, kept as a hash, every change in the audit trail."""

from __future__ import annotations

import hashlib

import pytest

from storage.upgrade import open_storage
from tests.tuner.cli.terminal import Terminal


@pytest.mark.slow
def test_a_token_is_shown_once_and_kept_as_a_hash(terminal: Terminal) -> None:
    place = ("--storage", terminal.url)
    created = terminal.run("token", "create", "ci", "--scope", "publish", "--expires-days", "90", "--reason", "releases", *place)
    text = created.out.strip()
    assert created.code == 0 and text not in created.err
    assert all(text.partition(".")[2].encode() not in content for content in terminal.files().values())
    assert text not in terminal.run("token", "list", *place).out
    [listed] = terminal.run("token", "list", "--json", *place).json["tokens"]
    assert (listed["name"], listed["scopes"], listed["state"]) == ("ci", ["publish"], "in force")
    assert listed["ends"] - listed["created"] == 90 * 86400
    storage = open_storage(terminal.url, read_only=True)
    assert storage.get_token(text.partition(".")[0]).digest == hashlib.sha256(text.encode()).hexdigest()
    [entry] = storage.list_audit()
    storage.close()
    assert entry.actor.startswith("cli:") and (entry.action, entry.subject, entry.reason) == ("token.create", "ci", "releases")
    assert terminal.run("token", "create", "ci", *place).code == 2


@pytest.mark.slow
def test_rotate_and_revoke(terminal: Terminal) -> None:
    place = ("--storage", terminal.url)
    first = terminal.run("token", "create", "ci", "--scope", "read", "--scope", "publish", "--json", *place).json
    second = terminal.run("token", "rotate", "ci", "--grace-hours", "24", "--json", *place).json
    assert second["token"] != first["token"] and second["scopes"] == first["scopes"] == ["read", "publish"]
    states = [item["state"] for item in terminal.run("token", "list", "--json", *place).json["tokens"]]
    assert states == ["in force", "in force"]
    assert terminal.run("token", "revoke", "ci", *place).out == "revoked ci (2 tokens)\n"
    assert "in force" not in terminal.run("token", "list", *place).out
    assert terminal.run("token", "rotate", "ci", *place).code == 2


@pytest.mark.slow
def test_history_says_who_did_what_and_why(terminal: Terminal) -> None:
    place = ("--storage", terminal.url)
    terminal.run("token", "create", "ci", "--reason", "releases", *place)
    terminal.run("token", "create", "other", *place)
    terminal.run("token", "revoke", "ci", "--reason", "left the team", *place)
    found = terminal.run("token", "history", "ci", "--json", *place).json["history"]
    assert [(item["action"], item["token"], item["reason"]) for item in found] == [
        ("token.revoke", "ci", "left the team"),
        ("token.create", "ci", "releases"),
    ]
    shown = terminal.run("token", "history", *place).out
    assert shown.splitlines()[0].split() == ["at", "actor", "action", "token", "reason"]
    assert len(shown.splitlines()) == 4
    assert "nothing happened" in terminal.run("token", "history", "unknown", *place).out


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["create", "rotate", "revoke"])
def test_a_mistyped_path_makes_no_database(terminal: Terminal, verb: str) -> None:
    """Only the default one, tuner.db here, is made by its first token."""
    url = f"sqlite:///{terminal.folder / 'tunr.db'}"
    refused = terminal.run("token", verb, "ci", "--storage", url)
    assert (refused.code, refused.out) == (2, "")
    [line] = refused.err.splitlines()
    assert "--storage" in line and "tunr.db" in line and line.endswith(f"tuner db upgrade --storage {url}")
    assert not (terminal.folder / "tunr.db").exists()
    assert terminal.run("db", "upgrade", "--storage", url).code == 0
    assert terminal.run("token", "create", "ci", "--storage", url).code == 0


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_where_there_is_no_database_there_is_no_token(terminal: Terminal, verb: str) -> None:
    assert terminal.run("token", verb, "ci").code == 2
    assert not (terminal.folder / "tuner.db").exists()
    assert terminal.run("token", "create", "ci").code == 0
