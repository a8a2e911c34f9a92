"""Studies get tags and can be archived; the audit trail keeps what is done to studies, and in a word what changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = "id, at, actor, action, kind, subject, reason, request_id"
_KINDS = "kind IN ('recommendation', 'study', 'token')"
_KINDS_BEFORE = "kind IN ('recommendation', 'token')"


def upgrade() -> None:
    op.add_column("tuner_studies", sa.Column("tags", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("tuner_studies", sa.Column("archived_at", sa.Float(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        _copy_audit(_KINDS, sa.Column("detail", sa.Text(), nullable=False), given="''")
        return
    op.add_column("tuner_audit", sa.Column("detail", sa.Text(), nullable=False, server_default=""))
    op.alter_column("tuner_audit", "detail", server_default=None)
    _replace_check(_KINDS)


def downgrade() -> None:
    """An older tuner knows no changes of studies, so their entries go."""
    op.execute("DELETE FROM tuner_audit WHERE kind = 'study'")
    if op.get_bind().dialect.name == "sqlite":
        _copy_audit(_KINDS_BEFORE)
    else:
        _replace_check(_KINDS_BEFORE)
        op.drop_column("tuner_audit", "detail")
    op.drop_column("tuner_studies", "archived_at")
    op.drop_column("tuner_studies", "tags")


def _replace_check(kinds: str) -> None:
    op.drop_constraint(op.f("ck_tuner_audit_kind_known"), "tuner_audit", type_="check")
    op.create_check_constraint(op.f("ck_tuner_audit_kind_known"), "tuner_audit", kinds)


def _copy_audit(kinds: str, *further: sa.Column[str], given: str = "") -> None:
    """SQLite cannot change a CHECK constraint: a new table takes the rows. `given`: the value of the further column in them."""
    op.drop_index(op.f("ix_tuner_audit_kind_subject_id"), "tuner_audit")
    op.rename_table("tuner_audit", "tuner_audit_before")
    op.create_table(
        "tuner_audit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("actor", "action", "kind", "subject", "reason")),
        sa.Column("request_id", sa.Text(), nullable=True),
        *further,
        sa.CheckConstraint("actor <> ''", name=op.f("ck_tuner_audit_actor_given")),
        sa.CheckConstraint(kinds, name=op.f("ck_tuner_audit_kind_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_audit")),
        sqlite_autoincrement=True,
    )
    names = ", ".join([_COLUMNS, *(column.name for column in further)])
    values = ", ".join([_COLUMNS, *([given] if further else [])])
    op.execute(f"INSERT INTO tuner_audit ({names}) SELECT {values} FROM tuner_audit_before")  # noqa: S608  # our own words
    op.drop_table("tuner_audit_before")
    op.create_index(op.f("ix_tuner_audit_kind_subject_id"), "tuner_audit", ["kind", "subject", "id"])
