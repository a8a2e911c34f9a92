"""The SQL storage, SQLite and PostgreSQL alike; open one with storage.upgrade.open_storage."""

from __future__ import annotations

from typing import Any

from storage.sql.access import SqlAccess
from storage.sql.capacity import SqlCapacity
from storage.sql.fleet import SqlFleet
from storage.sql.foresight import SqlForesight
from storage.sql.measurements import SqlMeasurements
from storage.sql.quarantine import SqlQuarantine
from storage.sql.queue import SqlQueue
from storage.sql.retention import SqlRetention
from storage.sql.schema import damage_of, describe
from storage.sql.sharing import SqlSharing
from storage.sql.studies import SqlStudies
from storage.sql.study_keeping import SqlStudyKeeping
from storage.sql.study_lists import SqlStudyLists
from storage.sql.trials import SqlTrials
from storage.sql.verdicts import SqlVerdicts


class SqlStorage(
    SqlStudies,
    SqlStudyLists,
    SqlStudyKeeping,
    SqlTrials,
    SqlMeasurements,
    SqlVerdicts,
    SqlForesight,
    SqlCapacity,
    SqlAccess,
    SqlQueue,
    SqlFleet,
    SqlQuarantine,
    SqlRetention,
    SqlSharing,
):
    """The whole contract of storage.base.Storage. Safe to share between threads; after a fork the child opens connections of its own."""

    def check(self) -> dict[str, Any]:
        return describe(self._engine, self._url)

    def damage(self) -> str | None:
        return damage_of(self._url)

    def close(self) -> None:
        """Idempotent."""
        self._engine.dispose()
