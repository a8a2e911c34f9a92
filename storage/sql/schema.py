"""The schema's revision: what a database has, what this code needs, and the migration between the two."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from storage.base import SchemaOutdated, StorageUnavailable
from storage.sql.engine import make_engine, transaction, unavailable
from storage.url import LOCK_TIMEOUT_S, SETTING, DatabaseUrl

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "tuner_alembic_version"
REVISION_QUERY = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # a constant
_one_at_a_time = threading.Lock()  # alembic.context is one global of the process, whatever the database
_POSTGRESQL_LOCK = 0x74756E6572  # "tuner": the advisory lock that migrations of one database queue for
OTHERS_LOCK = _POSTGRESQL_LOCK + 1  # that programs beside us queue for
CLAIMS_LOCK = _POSTGRESQL_LOCK + 2  # that claims of submissions queue for: a team's studies and a study's workers are counted right


def alembic_config(connection: Connection) -> Config:
    """Alembic's settings for our migrations over an open connection; the caller owns the transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    return config


@cache
def _revisions(folder: Path) -> tuple[str, frozenset[str]]:
    """The newest revision and all known ones; the scripts do not change while a process runs."""
    scripts = ScriptDirectory(str(folder))
    head = scripts.get_current_head()
    assert head is not None
    return head, frozenset(script.revision for script in scripts.walk_revisions())


def head_revision() -> str:
    """The revision that this code needs."""
    return _revisions(MIGRATIONS)[0]


def revision_of(connection: Connection) -> str | None:
    """The database's revision; None where our tables were never created."""
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def is_known(revision: str) -> bool:
    """Whether this code has it; a newer tuner's revision is not known."""
    return revision in _revisions(MIGRATIONS)[1]


def require_known(url: DatabaseUrl, revision: str | None) -> None:
    """Raises SchemaOutdated where a newer tuner made the database: its revision is not among ours."""
    if revision is not None and not is_known(revision):
        raise SchemaOutdated(
            f"{SETTING}: {url.safe} was made by a newer tuner (schema {revision}, not {head_revision()})", "upgrade vllm-tpu-tuner"
        )


def require_current(connection: Connection, url: DatabaseUrl) -> None:
    """Raises SchemaOutdated where somebody brought the schema to another revision since the database was opened: what this code writes may
    not be what that revision means."""
    revision = connection.exec_driver_sql(REVISION_QUERY).scalar_one_or_none()
    if revision != head_revision():
        require_head(url, revision)


def require_head(url: DatabaseUrl, revision: str | None) -> None:
    """Raises StorageUnavailable where there are no tables of ours, SchemaOutdated unless the revision is this code's."""
    if revision is None:
        raise StorageUnavailable(f"{SETTING}: {url.safe} holds no tuner tables", "run `tuner db upgrade` or name another database")
    require_known(url, revision)
    if revision != head_revision():
        raise SchemaOutdated(f"{SETTING}: {url.safe} has schema {revision}, this tuner needs {head_revision()}", "run `tuner db upgrade`")


def describe(engine: Engine, url: DatabaseUrl) -> dict[str, Any]:
    """{"url" (password hidden), "dialect", "revision" (None: no tables of ours), "head", "ok"}. Raises StorageUnavailable."""
    with transaction(engine, url, "schema", write=False) as connection:
        revision = revision_of(connection)
    head = head_revision()
    return {"url": url.safe, "dialect": url.dialect, "revision": revision, "head": head, "ok": revision == head}


def damage_of(url: DatabaseUrl) -> str | None:
    """The first thing that SQLite's own check finds, over a connection that remembers no page. Raises StorageUnavailable where the file
    cannot be read at all."""
    if url.dialect != "sqlite":
        return None
    engine = make_engine(url, create=False, read_only=True)
    try:
        with transaction(engine, url, "database file", write=False) as connection:
            found = str(connection.execute(text("PRAGMA quick_check(1)")).scalar_one())
    finally:
        engine.dispose()
    return None if found == "ok" else " ".join(found.split())


@contextmanager
def migration(engine: Engine, url: DatabaseUrl) -> Iterator[Connection]:
    """One transaction that changes the schema, alone: a second process waits and then finds the work done.

    The engine must come from `make_engine(..., foreign_keys=False)`: SQLite can change a table only by copying and dropping it, and a drop
    deletes what refers to it (https://www.sqlite.org/foreignkeys.html#fk_schemacommands). The keys are checked before the commit instead.
    """
    with _one_at_a_time, transaction(engine, url, "schema", write=True) as connection:
        if url.dialect == "postgresql":
            advisory_lock(connection, _POSTGRESQL_LOCK)
        yield connection
        if url.dialect == "sqlite" and connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
            raise StorageUnavailable(f"{SETTING}: {url.safe} holds rows whose parent is missing", "restore it from a backup")


def advisory_lock(connection: Connection, key: int) -> None:
    """PostgreSQL: wait for this lock and hold it until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def ensure_wal(engine: Engine, url: DatabaseUrl) -> None:
    """Put a SQLite file into WAL mode, which it then keeps. Raises StorageUnavailable.

    SQLite does not wait for this lock by itself, so we do. A file system without shared memory keeps its old mode: slower but right.
    """
    if url.dialect != "sqlite":
        return
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            _ask_for_wal(engine)
            return
        except sqlite3.Error as error:  # not SQLAlchemy's: journal_mode cannot change inside a transaction, so this goes around it
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise unavailable(url, str(error)) from error
            time.sleep(0.05)


def _ask_for_wal(engine: Engine) -> None:
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        cursor.close()
    finally:
        connection.close()
