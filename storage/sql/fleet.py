"""Workers, limits of teams, and claims on the engine groups of a study that several workers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from storage.queue_records import FleetWorker, GroupClaim, GroupState
from storage.sql.clock import database_now, read_clock
from storage.sql.core import SqlCore, plain_columns, records_of, sound_records
from storage.sql.models import fleet_workers, group_claims, team_limits

_FORGOTTEN_AFTER_S = 86_400.0  # of silence, for a worker


class SqlFleet(SqlCore):
    """See storage.queue_contract.QueueStorage."""

    def _insert(self, table: Table) -> Any:
        """The dialect's own INSERT, which knows ON CONFLICT."""
        return sqlite_insert(table) if self._url.dialect == "sqlite" else postgresql_insert(table)

    def set_team_limit(self, team: str, studies: int | None) -> None:
        what = f"limit of team {team!r}"
        values = plain_columns({"team": team, "studies": studies}, what)
        with self._writing(what) as connection:
            if studies is None:
                connection.execute(delete(team_limits).where(team_limits.c.team == values["team"]))
                return
            put = self._insert(team_limits).values(values)
            connection.execute(put.on_conflict_do_update(index_elements=["team"], set_={"studies": studies}))

    def team_limits(self) -> dict[str, int]:
        with self._reading("limits of teams") as connection:
            rows = connection.execute(select(team_limits.c.team, team_limits.c.studies).order_by(team_limits.c.team))
            return {row.team: row.studies for row in rows}

    def put_worker(self, worker: FleetWorker) -> None:
        what = f"worker {worker.name!r}"
        names = ("name", "host", "accelerator", "chips", "versions", "state", "submission_id")
        values = plain_columns({name: getattr(worker, name) for name in names}, what)
        with self._writing(what) as connection:
            connection.execute(delete(fleet_workers).where(fleet_workers.c.seen_at < database_now() - _FORGOTTEN_AFTER_S))
            put = self._insert(fleet_workers).values({**values, "started_at": database_now(), "seen_at": database_now()})
            connection.execute(put.on_conflict_do_update(index_elements=["name"], set_={**values, "seen_at": database_now()}))

    def list_workers(self, *, seen_within_s: float | None = None) -> Sequence[FleetWorker]:
        statement = select(fleet_workers).order_by(fleet_workers.c.name)
        if seen_within_s is not None:
            statement = statement.where(fleet_workers.c.seen_at >= database_now() - seen_within_s)
        with self._reading("workers") as connection:
            return sound_records(connection, FleetWorker, statement)

    def remove_worker(self, name: str) -> None:
        with self._writing(f"worker {name!r}") as connection:
            connection.execute(delete(fleet_workers).where(fleet_workers.c.name == name))

    def claim_group(self, study_id: int, group_key: str, *, worker: str, token: str, lease_s: float) -> bool:
        what = f"group {group_key} of study {study_id}"
        values = plain_columns({"study_id": study_id, "group_key": group_key, "worker": worker, "claim_token": token}, what)
        lease = {"heartbeat_at": database_now(), "lease_until": database_now() + lease_s, "state": GroupState.CLAIMED}
        free = (group_claims.c.state == GroupState.CLAIMED) & (group_claims.c.lease_until < database_now())
        put = self._insert(group_claims).values({**values, **lease, "attempts": 1})
        put = put.on_conflict_do_update(
            index_elements=["study_id", "group_key"], set_={**values, **lease, "attempts": group_claims.c.attempts + 1}, where=free
        )
        with self._writing(what) as connection:
            return connection.execute(put.returning(group_claims.c.id)).first() is not None

    def beat_groups(self, study_id: int, token: str, lease_s: float) -> int:
        held = _held(study_id, token)
        beat = update(group_claims).where(*held).values(heartbeat_at=database_now(), lease_until=database_now() + lease_s)
        with self._writing(f"groups of study {study_id}") as connection:
            return connection.execute(beat).rowcount

    def end_group(self, study_id: int, group_key: str, token: str, *, done: bool) -> bool:
        mine = (*_held(study_id, token), group_claims.c.group_key == group_key)
        statement = update(group_claims).where(*mine).values(state=GroupState.DONE) if done else delete(group_claims).where(*mine)
        with self._writing(f"group {group_key} of study {study_id}") as connection:
            return connection.execute(statement).rowcount == 1

    def list_groups(self, study_id: int, *, state: GroupState | None = None) -> Sequence[GroupClaim]:
        statement = select(group_claims).where(group_claims.c.study_id == study_id).order_by(group_claims.c.id)
        if state is not None:
            statement = statement.where(group_claims.c.state == state)
        what = f"groups of study {study_id}"
        with self._reading(what) as connection:
            return records_of(GroupClaim, connection.execute(statement), what)

    def clear_groups(self, study_id: int) -> None:
        with self._writing(f"groups of study {study_id}") as connection:
            connection.execute(delete(group_claims).where(group_claims.c.study_id == study_id))

    def database_now(self) -> float:
        with self._reading("clock") as connection:
            return read_clock(connection)


def _held(study_id: int, token: str) -> tuple[ColumnElement[bool], ...]:
    return group_claims.c.study_id == study_id, group_claims.c.claim_token == token, group_claims.c.state == GroupState.CLAIMED
