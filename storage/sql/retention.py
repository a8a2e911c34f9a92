"""Sizes, and what frees space without changing a verdict."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, bindparam, cast, func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from storage.json_text import dump_json
from storage.records import FINISHED, Profile
from storage.retention_contract import PRUNED, Freed, StudySize, TableSize
from storage.sql.core import SqlCore, find_record, plain_columns, readable, update_record
from storage.sql.models import TABLE_PREFIX, measurements, metadata, profiles, studies, trials

_AT_ONCE = 1000  # rows


class SqlRetention(SqlCore):
    """See storage.retention_contract.RetentionStorage."""

    def database_bytes(self) -> int:
        with self._reading("size of the database") as connection:
            return _whole(connection)

    def table_sizes(self) -> Sequence[TableSize]:
        found = []
        with self._reading("sizes of tables") as connection:
            for table in sorted(metadata.tables.values(), key=lambda item: item.name):
                rows = int(connection.scalar(select(func.count()).select_from(table)) or 0)
                found.append(TableSize(table.name.removeprefix(TABLE_PREFIX), rows, _bytes_of(connection, table.name)))
        return found

    def study_sizes(self, limit: int = 100) -> Sequence[StudySize]:
        text_bytes = func.sum(_length(measurements.c.metrics) + _length(measurements.c.details))
        windows = select(trials.c.study_id, func.count(), text_bytes).join(measurements, measurements.c.trial_id == trials.c.id)
        files = select(trials.c.study_id, profiles.c.size_bytes, profiles.c.quality).join(profiles, profiles.c.trial_id == trials.c.id)
        with self._reading("sizes of studies") as connection, readable("sizes of studies"):
            names = {row.id: row.name for row in connection.execute(select(studies.c.id, studies.c.name))}
            counted = connection.execute(select(trials.c.study_id, func.count()).group_by(trials.c.study_id))
            counts = {int(row[0]): int(row[1]) for row in counted}
            measured = {row[0]: (int(row[1]), int(row[2] or 0)) for row in connection.execute(windows.group_by(trials.c.study_id))}
            kept: dict[int, list[int]] = {}
            for study_id, size, quality in connection.execute(files):
                if PRUNED not in quality:
                    kept.setdefault(study_id, []).append(int(size))
        found = [
            StudySize(
                number, name, counts.get(number, 0), *measured.get(number, (0, 0)), len(kept.get(number, ())), sum(kept.get(number, ()))
            )
            for number, name in names.items()
        ]
        return sorted(found, key=lambda item: (-item.bytes - item.profile_bytes, item.study_id))[:limit]

    def drop_details(self, study_id: int, *, keep: Collection[str], dry_run: bool = False) -> Freed:
        own = select(trials.c.id).where(trials.c.study_id == study_id)
        freed, after = Freed(), 0
        while True:  # a transaction for each thousand rows: nobody waits long for the database
            page = select(measurements.c.id, measurements.c.details).where(measurements.c.trial_id.in_(own), measurements.c.id > after)
            opened = self._reading if dry_run else self._writing
            with opened(f"details of study {study_id}") as connection, readable(f"details of study {study_id}"):
                rows = connection.execute(page.order_by(measurements.c.id).limit(_AT_ONCE)).all()
                changed = [(row.id, row.details, {key: row.details[key] for key in row.details if key in keep}) for row in rows]
                changed = [item for item in changed if item[1] != item[2]]
                if changed and not dry_run:
                    statement = update(measurements).where(measurements.c.id == bindparam("row")).values(details=bindparam("kept"))
                    connection.execute(statement, [{"row": number, "kept": kept} for number, _, kept in changed])
            freed += Freed(len(changed), sum(len(dump_json(before)) - len(dump_json(kept)) for _, before, kept in changed))
            if len(rows) < _AT_ONCE:
                return freed
            after = rows[-1].id

    def drop_logs(self, study_id: int, *, dry_run: bool = False) -> Freed:
        own = (trials.c.study_id == study_id, trials.c.log_excerpt.is_not(None), trials.c.state.in_(FINISHED))
        counted = select(func.count(), func.sum(func.length(trials.c.log_excerpt))).where(*own)
        opened = self._reading if dry_run else self._writing
        with opened(f"logs of study {study_id}") as connection:
            rows, size = connection.execute(counted).one()
            if not dry_run:
                connection.execute(update(trials).where(*own).values(log_excerpt=None))
            return Freed(int(rows), int(size or 0))

    def note_profile(self, profile_id: int, note: dict[str, object]) -> None:
        what = f"profile {profile_id}"
        with self._writing(what) as connection:
            before = find_record(connection, Profile, "id", profile_id, what, lock=True)
            update_record(connection, Profile, profile_id, plain_columns({"quality": {**before.quality, **note}}, what), what)


def _length(column: ColumnElement[Any]) -> ColumnElement[int]:
    return func.length(cast(column, Text))


def _whole(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        return int(connection.scalar(text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")) or 0)
    return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def _bytes_of(connection: Connection, table: str) -> int | None:
    if connection.dialect.name != "sqlite":
        return int(connection.scalar(text("SELECT pg_total_relation_size(CAST(:name AS regclass))"), {"name": table}) or 0)
    names = "SELECT name FROM sqlite_schema WHERE tbl_name = :name"
    try:
        return int(connection.scalar(text(f"SELECT SUM(pgsize) FROM dbstat WHERE name IN ({names})"), {"name": table}) or 0)  # noqa: S608
    except SQLAlchemyError:
        return None  # this SQLite was built without dbstat
