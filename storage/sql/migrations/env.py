"""Alembic's entry: runs inside the connection and transaction that storage.upgrade opened.

Our revisions are counted in a version table of our own, and autogenerate looks at our tables only: Optuna's tables and its
`alembic_version` live in the same database and stay untouched.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from storage.base import StorageFault
from storage.sql.models import TABLE_PREFIX, metadata


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or (name is not None and name.startswith(TABLE_PREFIX))


def _run() -> None:
    connection = context.config.attributes.get("connection")
    if not isinstance(connection, Connection):
        raise StorageFault("migrations run through storage.upgrade (`tuner db upgrade`), not through the alembic command")
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=context.config.attributes["version_table"],
        include_name=_is_ours,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


_run()
