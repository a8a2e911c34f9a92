"""A database as a whole: open it, create it, upgrade it, check it, back it up.

A new revision: change storage/sql/models.py and call `alembic.command.revision(alembic_config(connection), message, autogenerate=True)` on
an upgraded database. By hand: changed CHECK constraints, which Alembic does not see, and `table_kwargs={"sqlite_autoincrement": True}` for
batch_alter_table, because SQLite's copy of a table forgets it. Keep a dump of the revision before it under tests/storage/assets.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import Engine

from storage.backup import backup
from storage.base import Storage, StorageFault, StorageUnavailable
from storage.sql.engine import make_engine, transaction
from storage.sql.schema import (
    OTHERS_LOCK,
    advisory_lock,
    alembic_config,
    describe,
    ensure_wal,
    migration,
    require_head,
    require_known,
    revision_of,
)
from storage.sql.storage import SqlStorage
from storage.url import SETTING, DatabaseUrl, parse_url

__all__ = ["backup", "check", "making_tables", "open_storage", "require_file", "upgrade"]


def open_storage(url: str, *, create: bool = True, read_only: bool = False) -> Storage:
    """Open a database, creating the file and our tables where there are none yet (`create`, never with `read_only`).

    Without `create` nothing is written, not even an empty file. Raises StorageUnavailable where there is no database of ours or it cannot
    be used, SchemaOutdated where the schema is older (names `tuner db upgrade`) or newer (says to upgrade the package) than this code.
    """
    parsed = parse_url(url)
    create = create and not read_only
    _require_file(parsed, create=create, write=not read_only)
    if create:
        _create_if_empty(parsed)
    engine = make_engine(parsed, create=False, read_only=read_only)
    try:
        with transaction(engine, parsed, "schema", write=False) as connection:
            require_head(parsed, revision_of(connection))
    except BaseException:
        engine.dispose()
        raise
    return SqlStorage(engine, parsed)


def require_file(url: str, *, unless: str) -> None:
    """For callers that may create tables but not the file: with a mistyped path they would create an empty database.

    Raises StorageUnavailable where a SQLite URL names a file that does not exist, except the one that `unless` names.
    """
    path = parse_url(url).path
    if path is not None and path.parent.is_dir() and not path.exists() and path != parse_url(unless).path:
        raise StorageUnavailable(
            f"{SETTING}: there is no database at {path}", f"name another, or begin an empty one with: tuner db upgrade --storage {url}"
        )


def upgrade(url: str) -> dict[str, Any]:
    """Bring the schema to this code's revision in one transaction; creates our tables where there are none. Returns what `check` returns.

    Raises StorageUnavailable, and SchemaOutdated where the database is newer than this code.
    """
    parsed = parse_url(url)
    _require_file(parsed, create=True, write=True)
    with _migrating(parsed) as engine:
        _to_head(engine, parsed)
    return check(url)


def check(url: str) -> dict[str, Any]:
    """{"url" (password hidden), "dialect", "revision" (None: no tables of ours), "head", "ok"}; writes nothing, creates nothing.

    Raises StorageUnavailable where the database does not exist or cannot be reached.
    """
    parsed = parse_url(url)
    _require_file(parsed, create=False, write=False)
    engine = make_engine(parsed, create=False, read_only=True)
    try:
        return describe(engine, parsed)
    finally:
        engine.dispose()


@contextmanager
def making_tables(url: str) -> Iterator[None]:
    """One process at a time, and one thread of it: for others' code that makes tables of its own in the database and does not wait.

    PostgreSQL has advisory locks. With SQLite the file's folder is locked (flock): to open and close the file itself would end SQLite's
    own locks (https://www.sqlite.org/howtocorrupt.html, 2.2). A file system without such locks does without. Raises StorageUnavailable.
    """
    parsed = parse_url(url)
    if parsed.path is not None:
        with _locked(parsed.path.parent):
            yield
        return
    engine = make_engine(parsed, create=False, read_only=False)
    try:
        with transaction(engine, parsed, "schema", write=False) as connection:
            advisory_lock(connection, OTHERS_LOCK)
            yield
    finally:
        engine.dispose()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StorageUnavailable(f"{SETTING}: the folder {folder} cannot be opened: {error.strerror}") from error
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create_if_empty(url: DatabaseUrl) -> None:
    """Create our tables where there are none; an older schema stays as it is, for the caller to refuse."""
    with _migrating(url) as engine:
        with transaction(engine, url, "schema", write=False) as connection:
            revision = revision_of(connection)
        if revision is None:
            _to_head(engine, url)


def _to_head(engine: Engine, url: DatabaseUrl) -> None:
    with migration(engine, url) as connection:
        require_known(url, revision_of(connection))
        command.upgrade(alembic_config(connection), "head")


@contextmanager
def _migrating(url: DatabaseUrl) -> Iterator[Engine]:
    engine = make_engine(url, create=True, read_only=False, foreign_keys=False)
    try:
        ensure_wal(engine, url)
        yield engine
    finally:
        engine.dispose()


def _require_file(url: DatabaseUrl, *, create: bool, write: bool) -> None:
    """Say plainly what is wrong with a SQLite path before SQLite says "unable to open database file"."""
    path = url.path
    if path is None:
        return
    if path.is_dir():
        raise StorageUnavailable(f"{SETTING}: {path} is a folder", "name a file in it")
    if not path.parent.is_dir():
        raise StorageUnavailable(f"{SETTING}: the folder {path.parent} does not exist", "create it or name another")
    if not create and not path.exists():
        raise StorageUnavailable(f"{SETTING}: there is no database at {path}", "run `tuner search` first or name another")
    writable = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
    if write and not writable:
        raise StorageUnavailable(f"{SETTING}: {path} cannot be written", "make it and its folder writable or name another")
    if not writable and not path.with_name(path.name + "-shm").exists():
        # WAL needs two files beside the database; a reader cannot make them here and no writer has (https://www.sqlite.org/wal.html#readonly).
        raise StorageUnavailable(
            f"{SETTING}: reading {path} needs a writable folder unless a search has it open", "make it writable or use PostgreSQL"
        )


@contextmanager
def beside(url: str, say: Callable[[str], None]) -> Iterator[Storage | None]:
    """The storage for what is kept there as well as elsewhere. None where there is no such database yet, and, as `say` is told, where it
    cannot be used: nothing fails for it, and none is made."""
    path = parse_url(url).path
    opened = None
    if path is None or path.exists():
        try:
            opened = open_storage(url, create=False)
        except StorageFault as error:
            say(f"warning: answers are kept in files only: {error}")
    try:
        yield opened
    finally:
        if opened is not None:
            opened.close()
