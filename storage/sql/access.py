"""API tokens, and the audit trail of who changed what."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, or_, select, update

from storage.base import NotFound
from storage.records import Actor, ApiToken, AuditEntry
from storage.sql.core import SqlCore, columns_of, find_record, insert_record, now_s, record_of, require_page, sound_records, write_audit
from storage.sql.models import api_tokens, audit


class SqlAccess(SqlCore):
    """See storage.base.Storage."""

    def add_token(self, token: ApiToken, *, by: Actor) -> ApiToken:
        what = f"token {token.name!r}"
        with self._writing(what) as connection:
            return _insert_token(connection, token, "token.create", by)

    def rotate_token(self, token: ApiToken, *, old_until: float, by: Actor) -> ApiToken:
        what = f"token {token.name!r}"
        named, current = api_tokens.c.name == token.name, api_tokens.c.revoked_at.is_(None)
        with self._writing(what) as connection:
            longer = update(api_tokens).where(named, api_tokens.c.revoked_at > old_until).values(revoked_at=old_until)
            connection.execute(longer)
            if connection.execute(update(api_tokens).where(named, current).values(revoked_at=old_until)).rowcount == 0:
                raise NotFound(f"{what}: no such token, or it is revoked")
            return _insert_token(connection, token, "token.rotate", by)

    def revoke_token(self, name: str, *, by: Actor) -> Sequence[ApiToken]:
        what, now = f"token {name!r}", now_s()
        alive = (api_tokens.c.name == name) & or_(api_tokens.c.revoked_at.is_(None), api_tokens.c.revoked_at > now)
        with self._writing(what) as connection:
            rows = connection.execute(update(api_tokens).where(alive).values(revoked_at=now).returning(*api_tokens.c)).all()
            if not rows:
                raise NotFound(f"{what}: no such token, or it is revoked")
            write_audit(connection, "token.revoke", "token", name, by, now)
            return sorted((record_of(ApiToken, row) for row in rows), key=lambda token: token.id)

    def get_token(self, key: str) -> ApiToken:
        with self._reading("API token") as connection:  # the key is not said again: it comes from whoever asks
            return find_record(connection, ApiToken, "key", key, "API token")

    def list_tokens(self) -> Sequence[ApiToken]:
        with self._reading("API tokens") as connection:
            return sound_records(connection, ApiToken, select(api_tokens).order_by(api_tokens.c.id))

    def list_audit(self, *, kind: str | None = None, subject: str | None = None, limit: int = 100, offset: int = 0) -> Sequence[AuditEntry]:
        require_page(limit, offset)
        statement = select(audit).order_by(audit.c.id.desc())
        if kind is not None:
            statement = statement.where(audit.c.kind == kind)
        if subject is not None:
            statement = statement.where(audit.c.subject == subject)
        with self._reading("audit trail") as connection:
            return sound_records(connection, AuditEntry, statement, limit, offset)


def _insert_token(connection: Connection, token: ApiToken, action: str, by: Actor) -> ApiToken:
    what = f"token {token.name!r}"
    values = columns_of(token, what)
    values["created_at"] = values["created_at"] or now_s()
    stored = insert_record(connection, ApiToken, values)
    write_audit(connection, action, "token", token.name, by, now_s())
    return stored
