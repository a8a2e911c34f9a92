"""Database URLs: the one place that parses, normalises and hides them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from storage.base import StorageUnavailable

SETTING = "--storage (or TUNER_STORAGE)"
LOCK_TIMEOUT_S = 30.0  # how long a SQLite writer waits for another one
# libpq's: a server that vanished without a word (a host or network lost) is noticed after about half a minute, not after hours.
POSTGRESQL_ARGUMENTS = {
    "connect_timeout": 10,  # s
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # ms
}

_EXAMPLES = "use sqlite:///tuner.db or postgresql://user@host/database"
_POSTGRESQL_SPELLINGS = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True)
class DatabaseUrl:
    """A parsed URL: `dialect` is "sqlite" or "postgresql"; `path` is the file's absolute path with SQLite, else None."""

    url: URL
    dialect: str
    path: Path | None

    @property
    def safe(self) -> str:
        """The URL with its password hidden: for messages, logs and `check`."""
        return self.url.render_as_string(hide_password=True)

    @property
    def full(self) -> str:
        """The URL with its password: for connecting only."""
        return self.url.render_as_string(hide_password=False)


def parse_url(text: str) -> DatabaseUrl:
    """Parse and normalise a database URL; touches neither disk nor network.

    SQLite paths become absolute, `postgres://` and `postgresql://` become psycopg 3. Raises StorageUnavailable, in one line that never
    shows a password, for anything else: a bare path, a dialect we do not speak, an in-memory database (no second process could see it).
    """
    text = text.strip()
    if not text.isprintable():
        raise StorageUnavailable(f"{SETTING}: the URL holds a line break or another control character", _EXAMPLES)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        hint = f"did you mean sqlite:///{text}?" if text and "://" not in text else _EXAMPLES
        raise StorageUnavailable(f"{SETTING}: not a database URL", hint) from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return _sqlite_url(url)
    if url.drivername in _POSTGRESQL_SPELLINGS:
        return _postgresql_url(url)
    raise StorageUnavailable(f"{SETTING}: {url.drivername!r} is not supported", _EXAMPLES)


def _sqlite_url(url: URL) -> DatabaseUrl:
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:"):
        raise StorageUnavailable(f"{SETTING}: SQLite needs a plain file that other processes can open", "use sqlite:///tuner.db")
    if url.host or url.query:
        raise StorageUnavailable(f"{SETTING}: a SQLite URL is sqlite:/// and a path, without options", "use sqlite:///tuner.db")
    path = Path(name).expanduser().absolute()
    return DatabaseUrl(URL.create("sqlite", database=str(path)), "sqlite", path)


def _postgresql_url(url: URL) -> DatabaseUrl:
    if not url.database:
        raise StorageUnavailable(f"{SETTING}: the PostgreSQL URL names no database", "use postgresql://user@host/database")
    if importlib.util.find_spec("psycopg") is None:
        raise StorageUnavailable(f"{SETTING}: PostgreSQL needs psycopg", "install vllm-tpu-tuner[postgres]")
    password = url.query.get("password")
    if isinstance(password, str):  # libpq takes it as an option as well, where nothing would hide it
        url = url.set(password=password).difference_update_query(["password"])
    return DatabaseUrl(url.set(drivername="postgresql+psycopg"), "postgresql", None)


def optuna_storage_arguments(text: str) -> dict[str, Any]:
    """Keyword arguments for `optuna.storages.RDBStorage`, so that Optuna keeps its own tables in the same database as ours.

    On SQLite its transactions take the write lock at their start and wait for it as long as ours do; otherwise Optuna gives up after
    sqlite3's 5 s. Raises StorageUnavailable as `parse_url` does.
    """
    parsed = parse_url(text)
    if parsed.dialect == "sqlite":
        options: dict[str, Any] = {"connect_args": {"timeout": LOCK_TIMEOUT_S, "isolation_level": "IMMEDIATE"}}
    else:
        options = {"pool_pre_ping": True, "connect_args": dict(POSTGRESQL_ARGUMENTS)}
    return {"url": parsed.full, "engine_kwargs": options}
