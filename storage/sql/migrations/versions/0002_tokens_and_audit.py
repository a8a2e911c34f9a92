"""API tokens, the audit trail, and an index for look-ups by accelerator."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NOT_REVOKED = sa.text("revoked_at IS NULL")


def upgrade() -> None:
    """New tables and an index only: nothing that exists is rewritten."""
    op.create_table(
        "tuner_api_tokens",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name=op.f("ck_tuner_api_tokens_name_length")),
        sa.CheckConstraint("length(digest) = 64", name=op.f("ck_tuner_api_tokens_digest_is_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_api_tokens")),
        sa.UniqueConstraint("key", name=op.f("uq_tuner_api_tokens_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_tuner_api_tokens_name", "tuner_api_tokens", ["name"], unique=True, sqlite_where=_NOT_REVOKED, postgresql_where=_NOT_REVOKED
    )
    op.create_table(
        "tuner_audit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.CheckConstraint("actor <> ''", name=op.f("ck_tuner_audit_actor_given")),
        sa.CheckConstraint("kind IN ('recommendation', 'token')", name=op.f("ck_tuner_audit_kind_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_audit_kind_subject_id"), "tuner_audit", ["kind", "subject", "id"])
    op.create_index("ix_tuner_recommendations_hardware", "tuner_recommendations", ["accelerator", "device_count", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_tuner_recommendations_hardware", "tuner_recommendations")
    op.drop_table("tuner_audit")
    op.drop_table("tuner_api_tokens")
