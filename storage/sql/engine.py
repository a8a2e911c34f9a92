"""SQLAlchemy engines: how a connection is opened, how a transaction begins, how a database error becomes one of ours.

SQLite runs in WAL mode, so readers never wait for the writer. Writes begin with BEGIN IMMEDIATE: a transaction that first reads and then
writes would otherwise fail at once with "database is locked" when another writer came first, whatever the time-out
(https://www.sqlite.org/isolation.html, https://www.sqlite.org/rescode.html#busy_snapshot).
`synchronous=FULL` costs one fsync per write: a finished call survives not only kill -9 (NORMAL would do) but the loss of the machine, and a
preempted TPU VM is lost without warning.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from storage.base import Conflict, InvalidRecord, NotFound, StorageUnavailable
from storage.guarded import Patience
from storage.json_text import dump_json, load_json
from storage.url import LOCK_TIMEOUT_S, POSTGRESQL_ARGUMENTS, SETTING, DatabaseUrl

_WRITE = "tuner_write"
_FILE = "tuner_file"


def make_engine(url: DatabaseUrl, *, create: bool, read_only: bool, foreign_keys: bool = True) -> Engine:
    """An engine that has not connected yet. With `create` False a missing SQLite file stays missing and connecting fails.

    `foreign_keys` False is for schema changes on SQLite only, see storage.sql.schema.migration.
    """
    common: dict[str, Any] = {
        "json_serializer": dump_json,
        "json_deserializer": load_json,
        "pool_size": 8,
        "max_overflow": 24,
        "pool_timeout": LOCK_TIMEOUT_S,
    }
    if url.path is not None:
        pragmas = [f"foreign_keys = {int(foreign_keys)}", "synchronous = FULL", f"query_only = {int(read_only)}"]
        held = _HeldFile(url.path)

        def connect() -> sqlite3.Connection:
            while True:
                before = held.set_old_logs_aside()
                connection = _connect_sqlite(url, pragmas, create=create, read_only=read_only)
                if before in {(), file_identity(url.path)}:
                    return connection
                connection.close()  # the file was replaced while it was opened

        engine = create_engine(url.url, creator=connect, **common)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "connect", held.connected)
        event.listen(engine, "checkout", held.checked_out)
        event.listen(engine, "checkin", held.checked_in)
        event.listen(engine, "handle_error", _forget_a_damaged_file)
    else:
        arguments: dict[str, Any] = dict(POSTGRESQL_ARGUMENTS)
        if read_only:
            arguments["options"] = "-c default_transaction_read_only=on"
        engine = create_engine(url.url, pool_pre_ping=True, connect_args=arguments, **common)
    _engines.add(engine)
    return engine


def _connect_sqlite(url: DatabaseUrl, pragmas: list[str], *, create: bool, read_only: bool) -> sqlite3.Connection:
    assert url.path is not None
    # A look-up of a file that we may write opens it for writing all the same (query_only refuses writes): only such a connection may
    # tidy up the -wal and -shm files when it is the last to close. Where the file is write-protected, "ro" is all there is.
    writable = os.access(url.path, os.W_OK) and os.access(url.path.parent, os.W_OK)
    mode = "rwc" if create else "ro" if read_only and not writable else "rw"
    connection = sqlite3.connect(
        f"file:{quote(str(url.path))}?mode={mode}", uri=True, timeout=LOCK_TIMEOUT_S, check_same_thread=False, isolation_level=None
    )
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def file_identity(path: Path | None) -> tuple[int, ...]:
    """(device, inode); () where there is no such file."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return ()
    return () if found is None else (found.st_dev, found.st_ino)


class _HeldFile:
    """A SQLite file that connections of a pool hold. They hold the one that they opened also where another one was put in its place or it
    was deleted: what is read then is gone, what is written is lost. So each is looked at before it is used.

    The write-ahead log of the file before would be played into the new one (https://www.sqlite.org/howtocorrupt.html, 1.4). It is kept
    under another name: whoever moved the file before elsewhere may want it. A log belongs to the file that it was seen with: that of the
    new file, which other connections may have open already, is left alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._logs: dict[tuple[int, ...], tuple[int, ...]] = {}  # identity of a file -> that of its log
        self._renaming = threading.Lock()

    def connected(self, connection: Any, record: ConnectionPoolEntry) -> None:
        with suppress(sqlite3.Error):  # said when it is used
            connection.execute("PRAGMA schema_version").fetchone()  # opens the log
        record.info[_FILE] = file_identity(self._path)
        self._is_ours(record)

    def checked_out(self, _connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        """SQLAlchemy opens another connection for a DisconnectionError."""
        if not self._is_ours(record):
            raise DisconnectionError("another file is in the place of the database")

    def checked_in(self, _connection: Any, record: ConnectionPoolEntry) -> None:
        self._is_ours(record)  # its log may have come into being meanwhile

    def _is_ours(self, record: ConnectionPoolEntry) -> bool:
        now = file_identity(self._path)
        if record.info.get(_FILE) != now:
            return False
        self._logs[now] = file_identity(self._log)
        return True

    def set_old_logs_aside(self) -> tuple[int, ...]:
        """Before a connection is opened. Returns the identity of the file that is there."""
        now = file_identity(self._path)
        if now:
            with self._renaming:
                old = [self._logs.pop(file) for file in list(self._logs) if file != now]
                log = file_identity(self._log)
                if log and log in old:
                    self._set_aside(str(log[1]))
        return now

    def _set_aside(self, label: str) -> None:
        for name in (self._log.name, f"{self._path.name}-shm"):
            with suppress(OSError):  # another process was faster
                self._path.with_name(name).rename(self._path.with_name(f"{name}.of-inode-{label}"))


def _forget_a_damaged_file(context: ExceptionContext) -> None:
    """Whoever mends it need not restart anything."""
    if getattr(context.original_exception, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        context.is_disconnect = True


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITE) else "BEGIN")


def _forget_inherited() -> None:
    """In a forked child: open new connections, and never touch nor finalise the parent's, whose sockets and file locks are still in use
    (SQLAlchemy, "Using Connection Pools with Multiprocessing or os.fork()")."""
    for engine in list(_engines):
        _inherited.append(engine.pool)
        engine.dispose(close=False)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_inherited: list[Pool] = []
os.register_at_fork(after_in_child=_forget_inherited)


@contextmanager
def transaction(engine: Engine, url: DatabaseUrl, what: str, *, write: bool, patience: Patience | None = None) -> Iterator[Connection]:
    """One transaction, committed at the end. `what` names the subject in messages, e.g. "trial 3 of study 7".

    Raises StorageUnavailable, NotFound (a foreign key), Conflict (a unique key) and InvalidRecord (a check, a type).
    """
    try:
        with _connected(engine, url, patience).execution_options(**{_WRITE: write}) as connection, connection.begin():
            yield connection
    except SQLAlchemyError as error:
        raise translate(error, url, what) from error
    except OverflowError as error:  # sqlite3's, of a number that no column holds
        raise InvalidRecord(f"{what}: {error}") from error


def _connected(engine: Engine, url: DatabaseUrl, patience: Patience | None) -> Connection:
    """Tried again as long as `patience` says: nothing has been sent yet."""
    while True:
        try:
            connection = engine.connect()
        except SQLAlchemyError as error:
            fault = translate(error, url, "connection")
            if patience is None or not isinstance(fault, StorageUnavailable) or not patience.again(fault):
                raise
        else:
            if patience is not None:
                patience.answered()
            return connection


def translate(error: SQLAlchemyError, url: DatabaseUrl, what: str) -> Exception:
    """The storage error that a database error stands for; its message is one line without a password."""
    reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    if isinstance(error, IntegrityError):
        kind = _integrity_kind(error)
        if kind == "unique":
            return Conflict(f"{what}: already stored")
        if kind == "foreign key":
            return NotFound(f"{what}: refers to a study, trial, workload or environment that is not stored")
        return InvalidRecord(f"{what}: {reason}")
    if isinstance(error, DBAPIError) and type(error).__name__ == "DataError":
        return InvalidRecord(f"{what}: {reason}")
    return unavailable(url, reason)


def unavailable(url: DatabaseUrl, reason: str) -> StorageUnavailable:
    return StorageUnavailable(f"{SETTING}: cannot use {url.safe}: {reason}")


def _integrity_kind(error: IntegrityError) -> str:
    """One of "unique", "foreign key" and "other", from SQLite's extended error name or PostgreSQL's SQLSTATE."""
    name = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    if name in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "23505"):
        return "unique"
    if name in ("SQLITE_CONSTRAINT_FOREIGNKEY", "23503"):
        return "foreign key"
    return "other"
