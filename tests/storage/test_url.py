"""URLs: spelling, normal form, and what the errors say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.base import StorageUnavailable
from storage.url import optuna_storage_arguments, parse_url


def test_a_sqlite_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative, absolute = parse_url("sqlite:///x.db"), parse_url(f"sqlite:///{tmp_path}/x.db")
    assert relative == absolute
    assert (relative.dialect, relative.path) == ("sqlite", tmp_path / "x.db")
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_means_psycopg_3(scheme: str) -> None:
    parsed = parse_url(f"{scheme}://user@host:5433/db?sslmode=require")
    assert parsed.full == "postgresql+psycopg://user@host:5433/db?sslmode=require"
    assert (parsed.dialect, parsed.path) == ("postgresql", None)


@pytest.mark.parametrize("url", ["postgresql://user:s3cret@host/db", "postgresql://user@host/db?password=s3cret"])
def test_a_password_is_hidden_but_used(url: str) -> None:
    parsed = parse_url(url)
    assert "s3cret" not in parsed.safe
    assert parsed.url.password == "s3cret"


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("tuner.db", "sqlite:///tuner.db"),
        ("", "sqlite:///tuner.db"),
        ("://", "sqlite:///tuner.db"),
        ("sqlite://", "sqlite:///tuner.db"),
        ("sqlite:///:memory:", "plain file"),
        ("sqlite:///file:x?mode=memory&uri=true", "plain file"),
        ("sqlite://tuner.db", "sqlite:///tuner.db"),
        ("sqlite:///x.db?timeout=5", "without options"),
        ("mysql://user:s3cret@host/db", "'mysql'"),
        ("postgresql+psycopg2://user:s3cret@host/db", "postgresql+psycopg2"),
        ("postgresql://user:s3cret@host", "names no database"),
        ("postgresql://user:s3cret@host:port/db", "use sqlite"),
    ],
)
def test_a_bad_url_names_the_setting_and_the_fix(url: str, fix: str) -> None:
    with pytest.raises(StorageUnavailable) as raised:
        parse_url(url)
    message = str(raised.value)
    assert message.startswith("--storage (or TUNER_STORAGE): ")
    assert fix in message
    assert "\n" not in message
    assert "s3cret" not in message


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    try:
        answer = parse_url(text).safe
    except StorageUnavailable as error:
        answer = str(error)
    assert len(answer.splitlines()) == 1


def test_optuna_gets_the_same_database() -> None:
    sqlite, postgresql = (optuna_storage_arguments(url) for url in ("sqlite:////data/x.db", "postgres://u:p@h/d"))
    assert sqlite["url"] == "sqlite:////data/x.db"
    assert postgresql["url"] == "postgresql+psycopg://u:p@h/d"
