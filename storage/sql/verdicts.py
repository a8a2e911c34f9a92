"""What a study concludes: comparisons per cell, and recommendations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, or_, select

from storage.base import InvalidRecord
from storage.records import Actor, Answerable, Comparison, PublicationState, Recommendation, RecommendationKey, Study
from storage.sql.core import (
    SqlCore,
    columns_of,
    find_record,
    insert_record,
    now_s,
    records_of,
    require_page,
    sound_records,
    sound_rows,
    update_record,
    value_types,
    write_audit,
)
from storage.sql.engine import file_identity
from storage.sql.models import audit as audit_table
from storage.sql.models import comparisons as comparisons_table
from storage.sql.models import foresight as foresight_table
from storage.sql.models import recommendations as recommendations_table
from storage.sql.models import studies as studies_table
from storage.sql.models import workloads as workloads_table
from storage.sql.schema import require_current
from storage.sql.text_search import holds

_KEY_COLUMNS = (
    *(recommendations_table.c[name] for name in ("id", "study_id")),
    studies_table.c.name,
    *(
        recommendations_table.c[name]
        for name in ("status", "model", "accelerator", "device_count", "workload_hash", "objective", "created_at", "published_at")
    ),
    studies_table.c.model_features,
    workloads_table.c.name,
    workloads_table.c.summary,
)
_KEY_TYPES = tuple(value_types(column) for column in _KEY_COLUMNS)


_IN_STATE = {
    PublicationState.PUBLISHED: (recommendations_table.c.published_at.is_not(None), recommendations_table.c.withdrawn_at.is_(None)),
    PublicationState.OPEN: (recommendations_table.c.published_at.is_(None), recommendations_table.c.withdrawn_at.is_(None)),
    PublicationState.WITHDRAWN: (recommendations_table.c.withdrawn_at.is_not(None),),
}


def _mentions(text: str) -> ColumnElement[bool]:
    table = recommendations_table
    of_study = or_(holds(studies_table.c.name, text), holds(studies_table.c.tags, text))
    return or_(
        holds(table.c.model, text),
        holds(table.c.objective, text),
        table.c.study_id.in_(select(studies_table.c.id).where(of_study)),
        table.c.workload_hash.in_(select(workloads_table.c.content_hash).where(holds(workloads_table.c.name, text))),
    )


class SqlVerdicts(SqlCore):
    """See storage.base.Storage."""

    def replace_comparisons(self, study_id: int, comparisons: Sequence[Comparison]) -> Sequence[Comparison]:
        """Also raises InvalidRecord for a comparison of another study; then the old ones stay."""
        what = f"comparisons of study {study_id}"
        rows = [columns_of(comparison, what) for comparison in comparisons]
        for row in rows:
            if row["study_id"] != study_id:
                raise InvalidRecord(f"{what}: one is of study {row['study_id']}")
            row["created_at"] = row["created_at"] or now_s()
        with self._writing(what) as connection:
            # The lock makes a second replacement wait, so that two never end up as a mixture.
            find_record(connection, Study, "id", study_id, f"study {study_id}", lock=True)
            connection.execute(delete(comparisons_table).where(comparisons_table.c.study_id == study_id))
            return [insert_record(connection, Comparison, row) for row in rows]

    def list_comparisons(self, study_id: int) -> Sequence[Comparison]:
        """In the order in which they were given to replace_comparisons."""
        statement = select(comparisons_table).where(comparisons_table.c.study_id == study_id).order_by(comparisons_table.c.id)
        with self._reading(f"comparisons of study {study_id}") as connection:
            return records_of(Comparison, connection.execute(statement), f"comparisons of study {study_id}")

    def add_recommendation(self, recommendation: Recommendation) -> Recommendation:
        what = f"recommendation of study {recommendation.study_id}"
        values = columns_of(recommendation, what)
        values["created_at"] = values["created_at"] or now_s()
        with self._writing(what) as connection:
            return insert_record(connection, Recommendation, values)

    def get_recommendation(self, recommendation_id: int) -> Recommendation:
        what = f"recommendation {recommendation_id}"
        with self._reading(what) as connection:
            return find_record(connection, Recommendation, "id", recommendation_id, what)

    def get_recommendations(self, recommendation_ids: Sequence[int]) -> Sequence[Recommendation]:
        if not recommendation_ids:
            return []
        statement = select(recommendations_table).where(recommendations_table.c.id.in_(recommendation_ids))
        with self._reading("recommendations") as connection:
            found = {item.id: item for item in sound_records(connection, Recommendation, statement)}
        return [found[number] for number in recommendation_ids if number in found]

    def list_recommendations(
        self,
        *,
        study_id: int | None = None,
        model: str | None = None,
        accelerator: str | None = None,
        text: str | None = None,
        publication: PublicationState | None = None,
        include_withdrawn: bool = False,
        limit: int = 100,
        offset: int = 0,
    ) -> Sequence[Recommendation]:
        require_page(limit, offset)
        table = recommendations_table
        statement = select(table).order_by(table.c.created_at.desc(), table.c.id.desc())
        if study_id is not None:
            statement = statement.where(table.c.study_id == study_id)
        if model is not None:
            statement = statement.where(table.c.model == model)
        if accelerator is not None:
            statement = statement.where(table.c.accelerator == accelerator)
        if text is not None:
            statement = statement.where(_mentions(text))
        if publication is not None:
            statement = statement.where(*_IN_STATE[publication])
        elif not include_withdrawn:
            statement = statement.where(table.c.withdrawn_at.is_(None))
        with self._reading("recommendations") as connection:
            return sound_records(connection, Recommendation, statement, limit, offset)

    def list_answerable(self, limit: int = 1000) -> Sequence[Answerable]:
        table = recommendations_table
        columns = (table.c.model, table.c.accelerator, table.c.device_count, workloads_table.c.name, table.c.objective)
        statement = (
            select(*columns)
            .join(workloads_table, workloads_table.c.content_hash == table.c.workload_hash)
            .where(table.c.withdrawn_at.is_(None), table.c.status != "none")
            .group_by(*columns)
            .order_by(func.max(table.c.created_at).desc())
            .limit(limit)
        )
        with self._reading("recommendations") as connection:
            return [Answerable(*row) for row in connection.execute(statement)]

    def list_recommendation_keys(
        self,
        *,
        model: str | None = None,
        accelerators: Sequence[str] | None = None,
        device_count: int | None = None,
        limit: int = 1000,
    ) -> Sequence[RecommendationKey]:
        """Also raises ValueError without model and accelerators."""
        require_page(limit, 0)
        table = recommendations_table
        if model is None and accelerators is None:
            raise ValueError("give a model or accelerators")
        # Outer joins keep this order: few recommendations by their index, then what each refers to. Both always exist.
        statement = select(*_KEY_COLUMNS).outerjoin(studies_table, studies_table.c.id == table.c.study_id)
        statement = statement.outerjoin(workloads_table, workloads_table.c.content_hash == table.c.workload_hash)
        statement = statement.where(table.c.withdrawn_at.is_(None))
        if model is not None:
            statement = statement.where(table.c.model == model)
        if accelerators is not None:
            statement = statement.where(table.c.accelerator.in_(accelerators))
        if device_count is not None:
            statement = statement.where(table.c.device_count == device_count)
        statement = statement.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
        with self._reading("recommendations") as connection:
            rows = sound_rows(connection.execute(statement), "recommendations")
            return [RecommendationKey(*tuple(row)) for row in rows if all(map(isinstance, row, _KEY_TYPES))]

    def mark_recommendation(self, recommendation_id: int, *, published: bool, by: Actor) -> Recommendation:
        """Publishing lifts a withdrawal. `published_at` is the first publication and outlives a withdrawal, so in force means: published_at
        set and withdrawn_at None. Marking twice changes nothing and leaves no second entry in the audit trail."""
        what = f"recommendation {recommendation_id}"
        now = now_s()
        with self._writing(what) as connection:
            before = find_record(connection, Recommendation, "id", recommendation_id, what, lock=True)
            if published:
                changes = {"published_at": before.published_at or now, "withdrawn_at": None}
            else:
                changes = {"withdrawn_at": before.withdrawn_at or now}
            after = update_record(connection, Recommendation, recommendation_id, changes, what)
            if after != before:
                action = "publish" if published else "withdraw"
                write_audit(connection, action, "recommendation", str(recommendation_id), by, now)
            return after

    def recommendations_version(self) -> str:
        """Three look-ups by primary key: every publication, withdrawal and deletion is in the audit trail. With SQLite also which file it
        is. Also raises SchemaOutdated."""
        tables = (recommendations_table, audit_table, foresight_table)
        newest = select(*(select(func.max(table.c.id)).scalar_subquery() for table in tables))
        with self._reading("recommendations") as connection:
            require_current(connection, self._url)
            return "/".join(str(value) for value in (*file_identity(self._url.path), *connection.execute(newest).one()))
