"""Hosts in quarantine, and what hosts measured."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update

from storage.base import NotFound
from storage.queue_records import TOLD, HostWindow, Quarantine
from storage.sql.clock import database_now, read_clock
from storage.sql.core import SqlCore, columns_of, inserting, plain_columns, readable, record_of, sound_records
from storage.sql.models import measurements, quarantines, studies, trials
from storage.values import clean_text

_DEFAULT_ARM = "default"
_LONGEST_REASON = 2000  # characters


class SqlQuarantine(SqlCore):
    """See storage.quarantine_contract.QuarantineStorage."""

    def quarantine_host(self, quarantine: Quarantine) -> Quarantine | None:
        what = f"quarantine of host {quarantine.host!r}"
        values = columns_of(quarantine, what) | {"released_at": None, "released_by": None, "release_reason": None}
        with self._writing(what) as connection:
            put = inserting(self._url, quarantines).values({**values, "since": read_clock(connection)})
            row = connection.execute(put.on_conflict_do_nothing().returning(*quarantines.c)).one_or_none()
            return None if row is None else record_of(Quarantine, row)

    def release_host(self, host: str, *, by: str, reason: str = "") -> Quarantine:
        what = f"host {host!r}"
        said = plain_columns({"released_by": by, "release_reason": clean_text(reason)[:_LONGEST_REASON]}, what)
        held = quarantines.c.host == host, quarantines.c.released_at.is_(None)
        release = update(quarantines).where(*held).values({**said, "released_at": database_now()}).returning(*quarantines.c)
        with self._writing(what) as connection:
            row = connection.execute(release).one_or_none()
            if row is None:
                raise NotFound(f"{what} is not in quarantine")
            return record_of(Quarantine, row)

    def list_quarantines(
        self, *, host: str | None = None, released: bool = False, limit: int = 1000, offset: int = 0
    ) -> Sequence[Quarantine]:
        statement = select(quarantines).order_by(quarantines.c.id.desc())
        if host is not None:
            statement = statement.where(quarantines.c.host == host)
        if not released:
            statement = statement.where(quarantines.c.released_at.is_(None))
        with self._reading("quarantines") as connection:
            return sound_records(connection, Quarantine, statement, limit, offset)

    def take_quarantine_notice(self, quarantine_id: int, what: str) -> bool:
        with self._writing(f"quarantine {quarantine_id}") as connection:
            mine = quarantines.c.id == quarantine_id
            details = connection.execute(select(quarantines.c.details).where(mine).with_for_update()).scalar_one_or_none()
            if details is None or what in details.get(TOLD, ()):
                return False
            connection.execute(update(quarantines).where(mine).values(details={**details, TOLD: [*details.get(TOLD, ()), what]}))
            return True

    def host_windows(self, *, after: float = 0.0, limit: int = 20_000) -> Sequence[HostWindow]:
        newest = select(func.coalesce(func.max(measurements.c.id), 0) - limit).scalar_subquery()
        wanted = (measurements.c.id > newest) & measurements.c.valid & (measurements.c.started_at > after) & (trials.c.arm == _DEFAULT_ARM)
        of_trial = (trials.c.study_id, studies.c.model, trials.c.workload_hash, trials.c.environment, trials.c.requested)
        statement = (
            select(*of_trial, measurements.c.started_at, measurements.c.metrics, measurements.c.details)
            .join(trials, trials.c.id == measurements.c.trial_id)
            .join(studies, studies.c.id == trials.c.study_id)
            .where(wanted)
            .order_by(measurements.c.id.desc())
        )
        with self._reading("windows of hosts") as connection, readable("windows of hosts"):
            rows = connection.execute(statement).all()
        return [
            HostWindow(
                host=row.details["host"],
                study_id=row.study_id,
                engine_start=row.details.get("engine_start"),
                launcher=row.details.get("launcher"),
                model=row.model,
                workload_hash=row.workload_hash,
                environment=row.environment,
                requested=row.requested,
                started_at=row.started_at,
                metrics=row.metrics,
            )
            for row in rows
            if isinstance(row.details, dict) and isinstance(row.details.get("host"), str) and row.details["host"]
        ]
