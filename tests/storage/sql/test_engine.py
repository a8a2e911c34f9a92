"""Connections are what the contract needs: settings of SQLite, transactions, errors."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from storage.base import Conflict, InvalidRecord, NotFound, StorageFault, StorageUnavailable
from storage.sql.engine import make_engine, transaction
from storage.upgrade import open_storage
from storage.url import parse_url

STUDY = "INSERT INTO tuner_studies VALUES (1, :name, 'm', '{}', 'o', 'RUNNING', '{}', 1, 1, 0, '{}', NULL, NULL)"
TRIAL = (
    "INSERT INTO tuner_trials (id, study_id, number, arm, block_size, max_num_batched_tokens, requested, workload_hash, stage, state,"
    " effective, created_at, notes) VALUES (1, 9, 0, 'default', 16, 128, '{}', 'w', 'search', 'WAITING', '{}', 1, '{}')"
)


@pytest.mark.slow
@pytest.mark.usefixtures("waits_for_the_disk")
@pytest.mark.parametrize("read_only", [False, True])
def test_sqlite_connections_are_set_up(sqlite_url: str, *, read_only: bool) -> None:
    open_storage(sqlite_url).close()
    url = parse_url(sqlite_url)
    engine = make_engine(url, create=False, read_only=read_only)
    with transaction(engine, url, "settings", write=False) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "synchronous", "query_only", "busy_timeout")
        }
    engine.dispose()
    full = 2
    expected = {"journal_mode": "wal", "foreign_keys": 1, "synchronous": full, "query_only": int(read_only), "busy_timeout": 30_000}
    assert found == expected


@pytest.mark.postgres
def test_a_postgresql_server_that_vanished_is_noticed(postgres_url: str) -> None:
    url = parse_url(postgres_url)
    engine = make_engine(url, create=False, read_only=False)
    with transaction(engine, url, "settings", write=False) as connection:
        driver: Any = connection.connection.driver_connection
        found = driver.info.get_parameters()
    engine.dispose()
    wanted = {"connect_timeout": "10", "tcp_user_timeout": "30000", "keepalives_idle": "10"}
    assert wanted.items() <= found.items()


@pytest.mark.slow
def test_a_writing_transaction_takes_the_lock_at_its_start(sqlite_url: str, tmp_path: Path) -> None:
    open_storage(sqlite_url).close()
    url = parse_url(sqlite_url)
    engine = make_engine(url, create=False, read_only=False)
    other = sqlite3.connect(tmp_path / "tuner.db", timeout=0, isolation_level=None)
    with transaction(engine, url, "nothing", write=False):
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    with transaction(engine, url, "nothing", write=True), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()
    engine.dispose()


@pytest.mark.slow
def test_an_error_rolls_back(each_url: str) -> None:
    open_storage(each_url).close()
    url = parse_url(each_url)
    engine = make_engine(url, create=False, read_only=False)

    def store_and_stumble() -> None:
        with transaction(engine, url, "study", write=True) as connection:
            connection.execute(text(STUDY), {"name": "first"})
            raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        store_and_stumble()
    with transaction(engine, url, "study", write=False) as connection:
        assert connection.execute(text("SELECT count(*) FROM tuner_studies")).scalar_one() == 0
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (STUDY, Conflict),
        (STUDY.replace("(1, :name", "(2, :name"), Conflict),
        (STUDY.replace("(1, :name", "(2, NULL"), InvalidRecord),
        (STUDY.replace("(1, :name", "(2, ''"), InvalidRecord),
        (TRIAL, NotFound),
        ("SELECT * FROM nowhere", StorageUnavailable),
    ],
)
def test_database_errors_become_ours(each_url: str, statement: str, expected: type[StorageFault]) -> None:
    open_storage(each_url).close()
    url = parse_url(each_url)
    engine = make_engine(url, create=False, read_only=False)
    with transaction(engine, url, "study", write=True) as connection:
        connection.execute(text(STUDY), {"name": "first"})
    with pytest.raises(StorageFault) as raised, transaction(engine, url, "study 'first'", write=True) as connection:
        connection.execute(text(statement), {"name": "first"} if ":name" in statement else {})
    assert type(raised.value) is expected
    assert "\n" not in str(raised.value)
    engine.dispose()
