"""The queue of studies: submissions and what happened to them, limits of teams, workers, and claims on engine groups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_STATES = "'QUEUED', 'RUNNING', 'CANCELLING', 'COMPLETE', 'FAILED', 'CANCELLED'"
_OPEN = sa.text("state IN ('QUEUED', 'RUNNING', 'CANCELLING')")


def upgrade() -> None:
    """New tables only: nothing that exists is rewritten."""
    _submissions()
    _events()
    _workers()
    _groups()


def downgrade() -> None:
    for table in ("group_claims", "fleet_workers", "team_limits", "submission_events", "submissions"):
        op.drop_table(f"tuner_{table}")


def _submissions() -> None:
    op.create_table(
        "tuner_submissions",
        _id(),
        _text("study"),
        _json("config"),
        _text("submitted_by"),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        _text("team", nullable=True),
        _json("requirements"),
        _text("webhook", nullable=True),
        sa.Column("submitted_at", sa.Float(), nullable=False),
        *(_text(name, nullable=True) for name in ("claimed_by", "claim_token")),
        *(sa.Column(name, sa.Float(), nullable=True) for name in ("heartbeat_at", "lease_until")),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _text("reason", nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("notified_event", sa.Integer(), nullable=False),
        _check("submissions", "state_known", f"state IN ({_STATES})"),
        _check("submissions", "study_length", "length(study) BETWEEN 1 AND 255"),
        _check("submissions", "names_given", "submitted_by <> '' AND team <> ''"),
        _check("submissions", "attempts_counted", "attempts >= 0"),
        _check(
            "submissions",
            "held_while_it_runs",
            "(state IN ('RUNNING', 'CANCELLING')) = (claim_token IS NOT NULL)"
            " AND (claim_token IS NULL) = (lease_until IS NULL) AND (claim_token IS NULL OR claimed_by IS NOT NULL)",
        ),
        _check("submissions", "finished_has_time", "(state IN ('COMPLETE', 'FAILED', 'CANCELLED')) = (finished_at IS NOT NULL)"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_submissions")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_tuner_submissions_study", "tuner_submissions", ["study"], unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_index(op.f("ix_tuner_submissions_state_priority_id"), "tuner_submissions", ["state", "priority", "id"])
    op.create_index(op.f("ix_tuner_submissions_team_state"), "tuner_submissions", ["team", "state"])
    op.create_table(
        "tuner_team_limits",
        _text("team"),
        sa.Column("studies", sa.Integer(), nullable=False),
        _check("team_limits", "team_given", "team <> '' AND studies >= 0"),
        sa.PrimaryKeyConstraint("team", name=op.f("pk_tuner_team_limits")),
    )


def _events() -> None:
    op.create_table(
        "tuner_submission_events",
        _id(),
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        _text("by"),
        _text("reason"),
        _check("submission_events", "what_known", f"what IN ({_STATES})"),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["tuner_submissions.id"], name=op.f("fk_tuner_submission_events_submission_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_submission_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_submission_events_submission_id_id"), "tuner_submission_events", ["submission_id", "id"])


def _workers() -> None:
    op.create_table(
        "tuner_fleet_workers",
        *(_text(name) for name in ("name", "host", "accelerator")),
        sa.Column("chips", sa.Integer(), nullable=False),
        _json("versions"),
        _text("state"),
        sa.Column("submission_id", sa.Integer(), nullable=True),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("started_at", "seen_at")),
        _check("fleet_workers", "state_known", "state IN ('idle', 'running', 'draining')"),
        _check("fleet_workers", "name_given", "name <> '' AND chips >= 0"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tuner_fleet_workers")),
    )
    op.create_index(op.f("ix_tuner_fleet_workers_seen_at"), "tuner_fleet_workers", ["seen_at"])


def _groups() -> None:
    op.create_table(
        "tuner_group_claims",
        _id(),
        sa.Column("study_id", sa.Integer(), nullable=False),
        _text("group_key"),
        sa.Column("state", sa.String(length=16), nullable=False),
        *(_text(name) for name in ("worker", "claim_token")),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("heartbeat_at", "lease_until")),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _check("group_claims", "state_known", "state IN ('CLAIMED', 'DONE')"),
        _check("group_claims", "holder_given", "worker <> '' AND claim_token <> ''"),
        _check(
            "group_claims",
            "finite",
            " AND ".join(f"{column} >= 0 AND {column} < 1e308" for column in ("heartbeat_at", "lease_until")),
        ),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_group_claims_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_group_claims")),
        sa.UniqueConstraint("study_id", "group_key", name=op.f("uq_tuner_group_claims_study_id_group_key")),
        sqlite_autoincrement=True,
    )


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer(), autoincrement=True, nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=False)


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_tuner_{table}_{name}"))
