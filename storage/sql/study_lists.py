"""Lists of studies: which, and what each was measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from sqlalchemy import ColumnElement, func, or_, select

from storage.records import Study, StudyContext, StudyFilter
from storage.sql.core import SqlCore, require_page, sound_records
from storage.sql.models import environments, studies, trials, workloads
from storage.sql.text_search import holds


def _filter(wanted: StudyFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if (model := wanted.get("model")) is not None:
        conditions.append(studies.c.model == model)
    if (state := wanted.get("state")) is not None:
        conditions.append(studies.c.state == state)
    if (text := wanted.get("text")) is not None:
        named = select(workloads.c.content_hash).where(holds(workloads.c.name, text))
        # All trials of a study have its workload (tuner.search.opening), so one of them is enough.
        first = select(trials.c.workload_hash).where(trials.c.study_id == studies.c.id).order_by(trials.c.number).limit(1).scalar_subquery()
        own = (holds(column, text) for column in (studies.c.name, studies.c.model, studies.c.tags))
        conditions.append(or_(*own, first.in_(named)))
    if (accelerator := wanted.get("accelerator")) is not None:
        machines = select(environments.c.fingerprint).where(environments.c.accelerator == accelerator)
        conditions.append(studies.c.id.in_(select(trials.c.study_id).where(trials.c.environment.in_(machines))))
    if (archived := wanted.get("archived")) is not None:
        conditions.append(studies.c.archived_at.is_not(None) if archived else studies.c.archived_at.is_(None))
    return conditions


class SqlStudyLists(SqlCore):
    """See storage.base.Storage."""

    def list_studies(self, *, limit: int = 100, offset: int = 0, **wanted: Unpack[StudyFilter]) -> Sequence[Study]:
        require_page(limit, offset)
        newest_first = (studies.c.created_at.desc(), studies.c.id.desc())
        statement = select(studies).where(*_filter(wanted)).order_by(*newest_first)
        with self._reading("studies") as connection:
            return sound_records(connection, Study, statement, limit, offset)

    def count_studies(self, **wanted: Unpack[StudyFilter]) -> int:
        with self._reading("studies") as connection:
            return int(connection.execute(select(func.count()).select_from(studies).where(*_filter(wanted))).scalar_one())

    def contexts_of(self, study_ids: Sequence[int]) -> dict[int, Sequence[StudyContext]]:
        found: dict[int, list[StudyContext]] = {study_id: [] for study_id in study_ids}
        machine = (environments.c.accelerator, environments.c.device_count)
        statement = (
            select(trials.c.study_id, *machine, workloads.c.name)
            .outerjoin(environments, environments.c.fingerprint == trials.c.environment)
            .join(workloads, workloads.c.content_hash == trials.c.workload_hash)
            .where(trials.c.study_id.in_(study_ids))
            .group_by(trials.c.study_id, *machine, workloads.c.name)
            .order_by(trials.c.study_id, func.count().desc())
        )
        with self._reading("trials") as connection:
            for row in connection.execute(statement):
                found[row[0]].append(StudyContext(*row))
        return dict(found)

    def list_accelerators(self) -> Sequence[str]:
        with self._reading("environments") as connection:
            return list(connection.scalars(select(environments.c.accelerator).distinct().order_by(environments.c.accelerator)))
