"""Hosts whose results drifted from those of their peers: they claim nothing until somebody releases them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_OPEN = sa.text("released_at IS NULL")


def upgrade() -> None:
    """A new table only: nothing that exists is rewritten."""
    op.create_table(
        "tuner_quarantines",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("host", "by", "reason")),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=True),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("released_by", "release_reason")),
        sa.CheckConstraint("host <> '' AND by <> ''", name=op.f("ck_tuner_quarantines_names_given")),
        sa.CheckConstraint("(released_at IS NULL) = (released_by IS NULL)", name=op.f("ck_tuner_quarantines_released_by_somebody")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_quarantines")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_tuner_quarantines_host", "tuner_quarantines", ["host"], unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN)


def downgrade() -> None:
    op.drop_table("tuner_quarantines")
