"""Puts a database that was kept as a dump of SQLite where a test wants it: into a SQLite file, or row by row into PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from alembic import command
from sqlalchemy import JSON, Boolean, Column, Connection, DateTime, MetaData, Table, text

from storage.sql import schema
from storage.sql.engine import make_engine
from storage.url import optuna_storage_arguments, parse_url
from tests.storage.raw import raw_connection


def restore(dump: Path, url: str) -> None:
    """`url` is an empty database (SQLite: of no file yet); afterwards it holds the dump's tables, at the dump's revision."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(dump.read_text())
        return
    with closing(sqlite3.connect(":memory:")) as source:
        source.executescript(dump.read_text())
        (revision,) = source.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}").fetchone()
        _make_tables(url, revision)
        _copy_rows(source, url)


def _make_tables(url: str, revision: str) -> None:
    """Ours at `revision`, and Optuna's."""
    parsed = parse_url(url)
    engine = make_engine(parsed, create=True, read_only=False)
    with schema.migration(engine, parsed) as connection:
        command.upgrade(schema.alembic_config(connection), revision)
    engine.dispose()
    optuna.storages.RDBStorage(**optuna_storage_arguments(url))


def _copy_rows(source: sqlite3.Connection, url: str) -> None:
    source.row_factory = sqlite3.Row
    metadata = MetaData()
    with raw_connection(url) as target:
        metadata.reflect(target)
        for table in metadata.sorted_tables:
            if table.name in {schema.VERSION_TABLE, "alembic_version", "version_info"}:
                continue  # written when the tables were made
            convert = {column.name: _converter(column) for column in table.columns}
            rows = [{name: convert[name](row[name]) for name in row.keys()} for row in source.execute(f'SELECT * FROM "{table.name}"')]  # noqa: SIM118
            if rows:
                target.execute(table.insert(), rows)
                _go_on_counting(target, table)


def _converter(column: Column[Any]) -> Callable[[Any], Any]:
    """From what SQLite holds to what the column takes."""
    convert: Callable[[Any], Any] = lambda value: value  # noqa: E731
    if isinstance(column.type, JSON):
        column.type.none_as_null = True  # else None is written as the JSON value
        convert = json.loads
    elif isinstance(column.type, Boolean):
        convert = bool
    elif isinstance(column.type, DateTime):
        convert = datetime.fromisoformat
    return lambda value: None if value is None else convert(value)


def _go_on_counting(target: Connection, table: Table) -> None:
    """Rows that came with their ids did not move the sequence."""
    for column in table.primary_key.columns:
        name = target.execute(text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": column.name}).scalar()
        if name:
            target.execute(text(f"SELECT setval('{name}', (SELECT max({column.name}) FROM {table.name}))"))
