"""Searches for the highest load within SLOs, and their windows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATES = "state IN ('running', 'found', 'none', 'at_least', 'interrupted', 'fail')"


def upgrade() -> None:
    """New tables only: nothing that exists is rewritten."""
    op.create_table(
        "tuner_capacity_runs",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("model", "workload_hash", "launcher")),
        *(_json(name) for name in ("slos", "question", "requested")),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("environment", sa.Text(), nullable=True),
        _json("effective"),
        *(sa.Column(name, sa.Float(), nullable=True) for name in ("edge", "low", "high")),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.CheckConstraint(_STATES, name=op.f("ck_tuner_capacity_runs_state_known")),
        sa.CheckConstraint(
            "state <> 'found' OR (edge IS NOT NULL AND low IS NOT NULL AND high IS NOT NULL)",
            name=op.f("ck_tuner_capacity_runs_found_has_interval"),
        ),
        sa.CheckConstraint(_finite("edge", "low", "high"), name=op.f("ck_tuner_capacity_runs_finite")),
        sa.ForeignKeyConstraint(["environment"], ["tuner_environments.fingerprint"], name=op.f("fk_tuner_capacity_runs_environment")),
        sa.ForeignKeyConstraint(["workload_hash"], ["tuner_workloads.content_hash"], name=op.f("fk_tuner_capacity_runs_workload_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_capacity_runs")),
        sqlite_autoincrement=True,
    )
    for columns in (["environment"], ["model", "id"], ["workload_hash"]):
        op.create_index(op.f(f"ix_tuner_capacity_runs_{'_'.join(columns)}"), "tuner_capacity_runs", columns)
    op.create_table(
        "tuner_capacity_windows",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("run_id", "number")),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("load", "started_at", "duration_s")),
        sa.Column("held", sa.Boolean(), nullable=False),
        *(_json(name) for name in ("metrics", "readings")),
        sa.Column("invalid_reason", sa.Text(), nullable=True),
        _json("details"),
        sa.CheckConstraint("number >= 0", name=op.f("ck_tuner_capacity_windows_number_counted")),
        sa.CheckConstraint("NOT held OR invalid_reason IS NULL", name=op.f("ck_tuner_capacity_windows_held_is_valid")),
        sa.CheckConstraint(_finite("load", "duration_s"), name=op.f("ck_tuner_capacity_windows_finite")),
        sa.ForeignKeyConstraint(["run_id"], ["tuner_capacity_runs.id"], name=op.f("fk_tuner_capacity_windows_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_capacity_windows")),
        sa.UniqueConstraint("run_id", "number", name=op.f("uq_tuner_capacity_windows_run_id_number")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("tuner_capacity_windows")
    op.drop_table("tuner_capacity_runs")


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=False)


def _finite(*columns: str) -> str:
    return " AND ".join(f"{column} >= 0 AND {column} < 1e308" for column in columns)
