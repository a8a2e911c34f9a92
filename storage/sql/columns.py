"""What the tables are made of: their metadata, and the kinds of columns and constraints that they share."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import JSON, CheckConstraint, Column, Enum, ForeignKey, Integer, MetaData

TABLE_PREFIX = "tuner_"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def json_type() -> JSON:
    """JSON text on both dialects (JSONB would lose the order of keys); Python's None is SQL's NULL, never JSON's null."""
    return JSON(none_as_null=True)


def words_of(kind: type[StrEnum]) -> Enum:
    """A StrEnum kept as its value in a VARCHAR; the CHECK constraint is written out beside the table."""
    return Enum(kind, native_enum=False, create_constraint=False, length=16, values_callable=lambda members: [str(m) for m in members])


def one_of(column: str, *words: str) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def finite(*columns: str) -> CheckConstraint:
    return CheckConstraint(" AND ".join(f"{column} >= 0 AND {column} < 1e308" for column in columns), name="finite")


def own_id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def parent(name: str, table: str) -> Column[int]:
    return Column(name, Integer, ForeignKey(f"{TABLE_PREFIX}{table}.id", ondelete="CASCADE"), nullable=False)
