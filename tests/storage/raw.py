"""A second, plain way into the database: what a test does behind the storage's back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from storage.base import Storage
from storage.url import parse_url


def url_of(storage: Storage) -> str:
    """The storage's URL; the test servers have no passwords, so nothing is hidden in it."""
    return str(storage.check()["url"])


@contextmanager
def raw_connection(url: str) -> Iterator[Connection]:
    """A connection in a transaction that is committed at the end."""
    engine = create_engine(parse_url(url).url, poolclass=NullPool)
    with engine.begin() as connection:
        yield connection
