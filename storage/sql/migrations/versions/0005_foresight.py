"""What was foreseen is kept: compiled engines and programs, simulated configurations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A new table only: nothing that exists is rewritten."""
    op.create_table(
        "tuner_foresight",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("key", "kind", "model", "accelerator")),
        sa.Column("device_count", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.JSON(none_as_null=True), nullable=False) for name in ("question", "answer")),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.CheckConstraint("length(key) = 64", name=op.f("ck_tuner_foresight_key_is_sha256")),
        sa.CheckConstraint("device_count >= 1", name=op.f("ck_tuner_foresight_device_count_positive")),
        sa.CheckConstraint("kind IN ('engine', 'program', 'configuration')", name=op.f("ck_tuner_foresight_kind_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_foresight")),
        sa.UniqueConstraint("key", name=op.f("uq_tuner_foresight_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_foresight_kind_model_id"), "tuner_foresight", ["kind", "model", "id"])


def downgrade() -> None:
    """All of it can be had again."""
    op.drop_table("tuner_foresight")
