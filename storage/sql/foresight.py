"""What was foreseen: compiled engines and programs, simulated configurations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from storage.records import ForesightAnswer
from storage.sql.core import SqlCore, columns_of, now_s, require_page, sound_records
from storage.sql.models import foresight as foresight_table

_AT_ONCE = 500  # keys in one query: SQLite takes a limited number of parameters


class SqlForesight(SqlCore):
    """See storage.base.Storage."""

    def put_foresight(self, answers: Sequence[ForesightAnswer]) -> None:
        if not answers:
            return
        what = "what was foreseen"
        now = now_s()
        insert = sqlite.insert if self._url.dialect == "sqlite" else postgresql.insert
        unless_there = insert(foresight_table).on_conflict_do_nothing(index_elements=["key"])
        rows = [columns_of(answer, what) for answer in answers]
        for row in rows:
            row["created_at"] = row["created_at"] or now
        with self._writing(what) as connection:
            connection.execute(unless_there, rows)

    def find_foresight(self, keys: Sequence[str]) -> dict[str, ForesightAnswer]:
        found: dict[str, ForesightAnswer] = {}
        with self._reading("what was foreseen") as connection:
            for begin in range(0, len(keys), _AT_ONCE):
                statement = select(foresight_table).where(foresight_table.c.key.in_(keys[begin : begin + _AT_ONCE]))
                found |= {item.key: item for item in sound_records(connection, ForesightAnswer, statement)}
        return found

    def list_foresight(
        self, *, kind: str, model: str, accelerators: Sequence[str] | None = None, device_count: int | None = None, limit: int = 1000
    ) -> Sequence[ForesightAnswer]:
        require_page(limit, 0)
        table = foresight_table
        statement = select(table).where(table.c.kind == kind, table.c.model == model).order_by(table.c.id.desc())
        if accelerators is not None:
            statement = statement.where(table.c.accelerator.in_(accelerators))
        if device_count is not None:
            statement = statement.where(table.c.device_count == device_count)
        with self._reading("what was foreseen") as connection:
            return sound_records(connection, ForesightAnswer, statement, limit)
