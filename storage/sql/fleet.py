"""Workers, and limits of teams."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from storage.queue_records import FleetWorker
from storage.sql.clock import database_now, read_clock
from storage.sql.core import SqlCore, inserting, plain_columns, sound_records
from storage.sql.models import fleet_workers, team_limits

_FORGOTTEN_AFTER_S = 86_400.0  # of silence, for a worker


class SqlFleet(SqlCore):
    """See storage.queue_contract.QueueStorage."""

    def set_team_limit(self, team: str, studies: int | None) -> None:
        what = f"limit of team {team!r}"
        values = plain_columns({"team": team, "studies": studies}, what)
        with self._writing(what) as connection:
            if studies is None:
                connection.execute(delete(team_limits).where(team_limits.c.team == values["team"]))
                return
            put = inserting(self._url, team_limits).values(values)
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
            put = inserting(self._url, fleet_workers).values({**values, "started_at": database_now(), "seen_at": database_now()})
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

    def database_now(self) -> float:
        with self._reading("clock") as connection:
            return read_clock(connection)
