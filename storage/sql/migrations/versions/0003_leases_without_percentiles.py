"""Leases get a table, where one statement can take them; the percentiles that nothing reads go (each stands in its window's metrics)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATISTICS = ("mean_ms", "std_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")


def upgrade() -> None:
    op.create_table(
        "tuner_leases",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("process_started_at", sa.Float(), nullable=False),
        sa.Column("heartbeat", sa.Float(), nullable=False),
        sa.CheckConstraint("token <> ''", name=op.f("ck_tuner_leases_token_given")),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_leases_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_tuner_leases")),
    )
    op.drop_table("tuner_requests_summary")


def downgrade() -> None:
    """The table comes back empty: an older tuner writes to it and reads nothing from it."""
    op.create_table(
        "tuner_requests_summary",
        sa.Column("measurement_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in _STATISTICS),
        sa.CheckConstraint("metric IN ('ttft', 'tpot', 'itl', 'e2el')", name=op.f("ck_tuner_requests_summary_metric_known")),
        sa.CheckConstraint('"count" >= 1', name=op.f("ck_tuner_requests_summary_not_empty")),
        sa.CheckConstraint(
            " AND ".join(f"{name} >= 0 AND {name} < 1e308" for name in _STATISTICS), name=op.f("ck_tuner_requests_summary_finite")
        ),
        sa.ForeignKeyConstraint(
            ["measurement_id"], ["tuner_measurements.id"], name=op.f("fk_tuner_requests_summary_measurement_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("measurement_id", "metric", name=op.f("pk_tuner_requests_summary")),
    )
    op.drop_table("tuner_leases")
