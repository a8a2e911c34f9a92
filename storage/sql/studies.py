"""Studies, and the content-addressed environments and workloads that they refer to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Insert, Table, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.base import InvalidRecord
from storage.records import Environment, Json, Lease, Study, StudyState, Workload
from storage.sql.core import (
    TABLE_OF,
    SqlCore,
    columns_of,
    find_record,
    insert_record,
    now_s,
    plain_columns,
    record_of,
    update_record,
)
from storage.sql.models import leases


class SqlStudies(SqlCore):
    """See storage.base.Storage."""

    def create_study(self, study: Study) -> Study:
        what = f"study {study.name!r}"
        values = columns_of(study, what)
        now = now_s()
        values["created_at"] = values["created_at"] or now
        values["updated_at"] = values["updated_at"] or now
        with self._writing(what) as connection:
            return insert_record(connection, Study, values)

    def get_study(self, name: str) -> Study:
        what = f"study {name!r}"
        with self._reading(what) as connection:
            return find_record(connection, Study, "name", name, what)

    def get_study_by_id(self, study_id: int) -> Study:
        what = f"study {study_id}"
        with self._reading(what) as connection:
            return find_record(connection, Study, "id", study_id, what)

    def update_study(
        self, study_id: int, *, state: StudyState | None = None, engine_starts: int | None = None, cost: Json | None = None
    ) -> Study:
        what = f"study {study_id}"
        given = {"state": state, "engine_starts": engine_starts, "cost": cost}
        changes = plain_columns({name: value for name, value in given.items() if value is not None}, what)
        with self._writing(what) as connection:
            return update_record(connection, Study, study_id, changes | {"updated_at": now_s()}, what)

    def get_lease(self, study_id: int) -> Lease | None:
        with self._reading(f"lease of study {study_id}") as connection:
            row = connection.execute(select(leases).where(leases.c.study_id == study_id)).one_or_none()
            return None if row is None else record_of(Lease, row)

    def swap_lease(self, study_id: int, held: str | None, lease: Lease | None) -> bool:
        """Also raises InvalidRecord for the lease of another study."""
        what = f"lease of study {study_id}"
        if lease is not None and lease.study_id != study_id:
            raise InvalidRecord(f"{what}: this one is of study {lease.study_id}")
        values = None if lease is None else columns_of(lease, what)
        ours = (leases.c.study_id == study_id) & (leases.c.token == held)
        with self._writing(what) as connection:
            find_record(connection, Study, "id", study_id, what)
            if held is None:
                insert = None if values is None else self._insert_unless_there(leases, values).returning(leases.c.study_id)
                return insert is not None and connection.execute(insert).first() is not None
            changed = delete(leases).where(ours) if values is None else update(leases).where(ours).values(values)
            return connection.execute(changed.returning(leases.c.study_id)).first() is not None

    def put_environment(self, environment: Environment) -> None:
        self._put_once(environment, f"environment {environment.fingerprint!r}")

    def get_environment(self, fingerprint: str) -> Environment:
        what = f"environment {fingerprint!r}"
        with self._reading(what) as connection:
            return find_record(connection, Environment, "fingerprint", fingerprint, what)

    def put_workload(self, workload: Workload) -> None:
        self._put_once(workload, f"workload {workload.content_hash!r}")

    def get_workload(self, content_hash: str) -> Workload:
        what = f"workload {content_hash!r}"
        with self._reading(what) as connection:
            return find_record(connection, Workload, "content_hash", content_hash, what)

    def _put_once(self, record: Environment | Workload, what: str) -> None:
        """Insert unless the key is there: the key is the content's hash, so what is there is the same."""
        values: dict[str, Any] = columns_of(record, what)
        with self._writing(what) as connection:
            connection.execute(self._insert_unless_there(TABLE_OF[type(record)], values))

    def _insert_unless_there(self, table: Table, values: Mapping[str, Any]) -> Insert:
        """One row, or none where its key is taken."""
        insert = sqlite.insert if self._url.dialect == "sqlite" else postgresql.insert
        return insert(table).values(dict(values)).on_conflict_do_nothing()
