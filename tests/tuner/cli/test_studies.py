"""`tuner studies`: what people do to studies, and the trail of it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import override

import pytest

from storage.base import Storage
from storage.records import Actor, StudyState
from storage.upgrade import open_storage
from tests.storage.builders import a_lease, a_study, stored_study
from tests.tuner.cli.terminal import Terminal


@pytest.fixture
def stored(terminal: Terminal) -> Iterator[Storage]:
    storage = open_storage(terminal.url)
    stored_study(storage, state=StudyState.COMPLETE)
    storage.create_study(a_study(name="second", state=StudyState.COMPLETE))
    yield storage
    storage.close()


@pytest.mark.slow
def test_a_study_is_renamed_tagged_archived_and_restored(terminal: Terminal, stored: Storage) -> None:
    place = ("--storage", terminal.url)
    assert terminal.run("studies", "rename", "first", "chat-v6e", *place).out == "first is chat-v6e now\n"
    assert terminal.run("studies", "tag", "chat-v6e", "v6e", "nightly", "--json", *place).json["tags"] == ["nightly", "v6e"]
    assert terminal.run("studies", "archive", "chat-v6e", "--reason", "another machine", *place).out == "chat-v6e is archived\n"
    shown = terminal.run("show", *place).out
    assert "chat-v6e" not in shown and "1 archived; --archived lists them" in shown
    assert "chat-v6e" in terminal.run("show", "--archived", *place).out
    assert "archived, tags nightly v6e" in terminal.run("show", "chat-v6e", *place).out
    assert terminal.run("studies", "restore", "chat-v6e", *place).out == "chat-v6e is in lists again\n"
    assert stored.get_study("chat-v6e").archived_at is None
    found = terminal.run("studies", "history", "chat-v6e", "--json", *place).json["history"]
    assert [(entry["action"], entry["detail"], entry["reason"]) for entry in found] == [
        ("restore", "chat-v6e", ""),
        ("archive", "chat-v6e", "another machine"),
        ("tag", "none -> nightly v6e", ""),
        ("rename", "first -> chat-v6e", ""),
    ]
    assert found[0]["actor"].startswith("cli:")


@pytest.mark.slow
def test_deleting_asks_for_the_name(terminal: Terminal, stored: Storage) -> None:
    place = ("--storage", terminal.url)
    for typed in (("--confirm", "second"), ("--confirm", ""), ()):
        assert terminal.run("studies", "delete", "first", *typed, *place).code != 0, typed
    assert stored.get_study("first").name == "first"
    assert terminal.run("studies", "delete", "first", "--confirm", "first", "--json", *place).json == {"deleted": "first"}
    assert [study.name for study in stored.list_studies()] == ["second"]
    assert "delete" in terminal.run("studies", "history", *place).out, "the trail outlives it"


class _Stdin(io.StringIO):
    """`terminal`: whether somebody sits there."""

    def __init__(self, typed: str, *, terminal: bool) -> None:
        super().__init__(typed)
        self._terminal = terminal

    @override
    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        (_Stdin("", terminal=False), 2),  # </dev/null
        (None, 2),  # <&-
        (_Stdin("\n", terminal=False), 2),
        (_Stdin("", terminal=True), 130),  # Ctrl-D
        (_Stdin("first\n", terminal=False), 0),  # echo first |
        (_Stdin("first\n", terminal=True), 0),
    ],
)
def test_where_nobody_can_be_asked_nobody_has_stopped_it(
    terminal: Terminal, stored: Storage, monkeypatch: pytest.MonkeyPatch, stdin: _Stdin | None, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    done = terminal.run("studies", "delete", "first", "--storage", terminal.url)
    assert done.code == code, done.err
    assert ("confirm: is needed: there is no terminal to ask on; add --confirm first" in done.err) is (code == 2)
    assert ("first" in [study.name for study in stored.list_studies()]) is (code != 0)


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["a\nb", "\x1b[31mred", "tab\there", "\x7f", "x" * 501, "not UTF-8: \udcff"])
@pytest.mark.parametrize(
    "words", [("archive", "first"), ("tag", "first", "x"), ("rename", "first", "other"), ("delete", "first", "--confirm", "first")]
)
def test_a_reason_that_the_api_refuses_is_refused_here_too(
    terminal: Terminal, stored: Storage, words: tuple[str, ...], reason: str
) -> None:
    refused = terminal.run("studies", *words, "--reason", reason, "--storage", terminal.url)
    assert refused.code == 2 and refused.err.startswith("error: reason "), refused.err
    assert len(refused.err.splitlines()) == 1 and refused.err.strip().isprintable()
    assert stored.list_audit() == [] and [study.name for study in stored.list_studies()] == ["second", "first"]
    assert terminal.run("token", "create", "ci", "--reason", reason, "--storage", terminal.url).code == 2
    assert stored.list_audit() == []


@pytest.mark.slow
def test_a_reason_stored_by_an_older_version_does_not_reach_the_terminal_raw(terminal: Terminal, stored: Storage) -> None:
    stored.label_study(stored.get_study("first").id, archived=True, by=Actor("cli:anna", "a\nb \x1b[2J"))
    shown = terminal.run("studies", "history", "--storage", terminal.url).out
    assert shown.splitlines()[1].endswith(r"a\nb \x1b[2J") and len(shown.splitlines()) == 2
    assert terminal.run("studies", "history", "--json", "--storage", terminal.url).json["history"][0]["reason"] == "a\nb \x1b[2J"


@pytest.mark.slow
def test_the_longest_reason_is_stored_as_it_is(terminal: Terminal, stored: Storage) -> None:
    reason = "ü" * 500
    assert terminal.run("studies", "archive", "first", "--reason", reason, "--storage", terminal.url).code == 0
    assert [entry.reason for entry in stored.list_audit()] == [reason]


@pytest.mark.slow
@pytest.mark.parametrize("words", [("rename", "first", "other"), ("delete", "first", "--confirm", "first")])
def test_a_running_study_stays_as_it_is(terminal: Terminal, stored: Storage, words: tuple[str, ...]) -> None:
    study = stored.get_study("first")
    stored.update_study(study.id, state=StudyState.RUNNING)
    stored.swap_lease(study.id, None, a_lease(study.id, heartbeat=time.time()))
    refused = terminal.run("studies", *words, "--storage", terminal.url)
    assert refused.code == 2 and "study 'first' is running" in refused.err
    assert stored.get_study("first").id == study.id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rename", "nobody", "other"), "'nobody' is not in this database"),
        (("rename", "first", "a b"), "1 to 100 letters"),
        (("rename", "first", "second"), "second"),
        (("tag", "first", "a b"), "1 to 40 characters"),
        (("tag", "first", *map(str, range(21))), "at most 20"),
        (("history", "nobody"), "'nobody' is not in this database"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(terminal: Terminal, stored: Storage, words: tuple[str, ...], said: str) -> None:
    refused = terminal.run("studies", *words, "--storage", terminal.url)
    assert refused.code == 2 and said in refused.err and len(refused.err.splitlines()) == 1
    assert stored.list_audit() == []


def test_a_mistyped_database_is_not_made(terminal: Terminal) -> None:
    missing = terminal.url.replace("tuner.db", "missing.db")
    for words in (("archive", "first"), ("tag", "first", "x"), ("delete", "first", "--confirm", "first")):
        assert terminal.run("studies", *words, "--storage", missing).code == 2
    assert not any("missing" in str(name) for name in terminal.files())
