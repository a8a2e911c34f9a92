"""Searches for the highest load within SLOs, and their windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from sqlalchemy import func, or_, select

from storage.base import InvalidRecord
from storage.records import CapacityChanges, CapacityFilter, CapacityRun, CapacityState, CapacityWindow
from storage.sql.core import (
    SqlCore,
    columns_of,
    find_record,
    insert_record,
    now_s,
    plain_columns,
    records_of,
    require_page,
    sound_records,
    update_record,
)
from storage.sql.models import capacity_runs, capacity_windows, environments, workloads


class SqlCapacity(SqlCore):
    """See storage.base.Storage."""

    def create_capacity_run(self, run: CapacityRun) -> CapacityRun:
        what = f"capacity of {run.model}"
        values = columns_of(run, what)
        values["created_at"] = values["created_at"] or now_s()
        with self._writing(what) as connection:
            return insert_record(connection, CapacityRun, values)

    def update_capacity_run(self, run_id: int, *, state: CapacityState, **changes: Unpack[CapacityChanges]) -> CapacityRun:
        what = f"capacity run {run_id}"
        values = plain_columns({"state": state, **changes}, what)
        if state is CapacityState.FOUND and None in (values.get("edge"), values.get("low"), values.get("high")):
            raise InvalidRecord(f"{what}: what was found has an edge and an interval")
        with self._writing(what) as connection:
            return update_record(connection, CapacityRun, run_id, values, what)

    def get_capacity_run(self, run_id: int) -> CapacityRun:
        what = f"capacity run {run_id}"
        with self._reading(what) as connection:
            return find_record(connection, CapacityRun, "id", run_id, what)

    def list_capacity_runs(self, *, limit: int = 100, offset: int = 0, **only: Unpack[CapacityFilter]) -> Sequence[CapacityRun]:
        require_page(limit, offset)
        statement = select(capacity_runs).order_by(capacity_runs.c.id.desc())
        if (model := only.get("model")) is not None:
            statement = statement.where(capacity_runs.c.model == model)
        if (accelerator := only.get("accelerator")) is not None:
            on_it = select(environments.c.fingerprint).where(environments.c.accelerator == accelerator)
            statement = statement.where(capacity_runs.c.environment.in_(on_it))
        if (workload := only.get("workload")) is not None:
            of_it = select(workloads.c.content_hash).where(or_(workloads.c.name == workload, workloads.c.content_hash == workload))
            statement = statement.where(capacity_runs.c.workload_hash.in_(of_it))
        if (by := only.get("by")) is not None:
            statement = statement.where(func.coalesce(capacity_runs.c.question["by"].as_string(), "rate") == by)
        with self._reading("capacity runs") as connection:
            return sound_records(connection, CapacityRun, statement, limit, offset)

    def add_capacity_window(self, window: CapacityWindow) -> CapacityWindow:
        what = f"window {window.number} of capacity run {window.run_id}"
        with self._writing(what) as connection:
            return insert_record(connection, CapacityWindow, columns_of(window, what))

    def list_capacity_windows(self, run_id: int) -> Sequence[CapacityWindow]:
        statement = select(capacity_windows).where(capacity_windows.c.run_id == run_id).order_by(capacity_windows.c.number)
        with self._reading(f"windows of capacity run {run_id}") as connection:
            return records_of(CapacityWindow, connection.execute(statement), f"windows of capacity run {run_id}")
