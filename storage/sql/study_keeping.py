"""What people do to studies: rename, tag, archive, delete. Each change and its entry in the audit trail are one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, column, delete, inspect, select, table, update

from storage.base import Conflict
from storage.records import Actor, Study
from storage.sql.core import SqlCore, find_record, now_s, plain_columns, update_record, write_audit
from storage.sql.models import recommendations, studies, trials

_OPTUNA = table("studies", column("study_name"))


class SqlStudyKeeping(SqlCore):
    """See storage.base.Storage."""

    def rename_study(self, study_id: int, name: str, *, by: Actor) -> Study:
        what = f"study {name!r}"
        with self._writing(what) as connection:
            before = find_record(connection, Study, "id", study_id, f"study {study_id}", lock=True)
            if before.name == name:
                return before
            after = update_record(connection, Study, study_id, plain_columns({"name": name}, what), what)
            _rename_in_recommendations(connection, after)
            _rename_in_optuna(connection, before.name, name)
            write_audit(connection, "rename", "study", str(study_id), by, now_s(), detail=f"{before.name} -> {name}")
            return after

    def label_study(self, study_id: int, *, tags: Sequence[str] | None = None, archived: bool | None = None, by: Actor) -> Study:
        what, now = f"study {study_id}", now_s()
        with self._writing(what) as connection:
            before = find_record(connection, Study, "id", study_id, what, lock=True)
            after = before
            wanted = None if tags is None else sorted(set(tags))
            if wanted is not None and wanted != (before.tags or []):
                after = update_record(connection, Study, study_id, plain_columns({"tags": wanted or None}, what), what)
                detail = f"{' '.join(before.tags or []) or 'none'} -> {' '.join(wanted) or 'none'}"
                write_audit(connection, "tag", "study", str(study_id), by, now, detail=detail)
            if archived is not None and archived != (before.archived_at is not None):
                after = update_record(connection, Study, study_id, {"archived_at": now if archived else None}, what)
                write_audit(connection, "archive" if archived else "restore", "study", str(study_id), by, now, detail=after.name)
            return after

    def delete_study(self, study_id: int, *, by: Actor) -> None:
        what, own, now = f"study {study_id}", recommendations.c.study_id == study_id, now_s()
        with self._writing(what) as connection:
            # nobody adds a recommendation meanwhile
            study = find_record(connection, Study, "id", study_id, what, lock=True)
            for number in connection.scalars(select(recommendations.c.id).where(own).order_by(recommendations.c.id)).all():
                write_audit(connection, "delete", "recommendation", str(number), by, now)
            count = len(connection.scalars(select(trials.c.id).where(trials.c.study_id == study_id)).all())
            detail = f"{study.name}, {count} {'trial' if count == 1 else 'trials'}"
            write_audit(connection, "delete", "study", str(study_id), by, now, detail=detail)
            connection.execute(delete(studies).where(studies.c.id == study_id))


def _rename_in_recommendations(connection: Connection, study: Study) -> None:
    """Their stored answers name the study as their evidence, and are shown and given out as they are."""
    own = recommendations.c.study_id == study.id
    for number, body in connection.execute(select(recommendations.c.id, recommendations.c.body).where(own)).all():
        evidence: Any = body.get("evidence") if isinstance(body, dict) else None
        if isinstance(evidence, dict) and "study" in evidence:
            changed = {**body, "evidence": {**evidence, "study": study.name}}
            connection.execute(update(recommendations).where(recommendations.c.id == number).values(body=changed))


def _rename_in_optuna(connection: Connection, before: str, after: str) -> None:
    """Optuna keeps the study under the same name (tuner.trials.optuna_record), and a resumed search looks for it there. Raises Conflict."""
    if not inspect(connection).has_table(_OPTUNA.name):
        return
    if connection.execute(select(_OPTUNA.c.study_name).where(_OPTUNA.c.study_name == after)).first() is not None:
        raise Conflict(f"study {after!r}: Optuna keeps another study of this name in the database", "choose another name")
    connection.execute(update(_OPTUNA).where(_OPTUNA.c.study_name == before).values(study_name=after))
