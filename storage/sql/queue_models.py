"""The tables of the queue: submissions, what happened to them, who works, and who measures which engine group.

Leases end by the database's clock (`lease_until`): a worker whose clock jumps steals nothing and loses nothing.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Float, Index, Integer, Table, Text, UniqueConstraint, text

from storage.queue_records import GroupState, SubmissionState
from storage.sql.columns import finite, json_type, metadata, one_of, own_id, parent, words_of

_OPEN = text("state IN ('QUEUED', 'RUNNING', 'CANCELLING')")

submissions = Table(
    "tuner_submissions",
    metadata,
    own_id(),
    Column("study", Text, nullable=False),
    Column("config", json_type(), nullable=False),
    Column("submitted_by", Text, nullable=False),
    Column("state", words_of(SubmissionState), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("team", Text),
    Column("requirements", json_type(), nullable=False),
    Column("webhook", Text),
    Column("submitted_at", Float, nullable=False),
    Column("claimed_by", Text),
    Column("claim_token", Text),
    Column("heartbeat_at", Float),
    Column("lease_until", Float),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text),
    Column("finished_at", Float),
    Column("notified_event", Integer, nullable=False),
    Column("workers", Integer, nullable=False, server_default=text("1")),
    one_of("state", *SubmissionState),
    CheckConstraint("length(study) BETWEEN 1 AND 255", name="study_length"),
    CheckConstraint("submitted_by <> '' AND team <> ''", name="names_given"),
    CheckConstraint("attempts >= 0", name="attempts_counted"),
    CheckConstraint(
        "(state IN ('RUNNING', 'CANCELLING')) = (claim_token IS NOT NULL)"
        " AND (claim_token IS NULL) = (lease_until IS NULL) AND (claim_token IS NULL OR claimed_by IS NOT NULL)",
        name="held_while_it_runs",
    ),
    CheckConstraint("(state IN ('COMPLETE', 'FAILED', 'CANCELLED')) = (finished_at IS NOT NULL)", name="finished_has_time"),
    # Two submissions of one study would run into each other; of one that ended another may follow, which resumes it.
    Index("uq_tuner_submissions_study", "study", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index(None, "state", "priority", "id"),
    Index(None, "team", "state"),
    sqlite_autoincrement=True,
)

submission_events = Table(
    "tuner_submission_events",
    metadata,
    own_id(),
    parent("submission_id", "submissions"),
    Column("at", Float, nullable=False),
    Column("what", words_of(SubmissionState), nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    one_of("what", *SubmissionState),
    Index(None, "submission_id", "id"),
    sqlite_autoincrement=True,
)

team_limits = Table(
    "tuner_team_limits",
    metadata,
    Column("team", Text, primary_key=True),
    Column("studies", Integer, nullable=False),
    CheckConstraint("team <> '' AND studies >= 0", name="team_given"),
)

fleet_workers = Table(
    "tuner_fleet_workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("accelerator", Text, nullable=False),
    Column("chips", Integer, nullable=False),
    Column("versions", json_type(), nullable=False),
    Column("state", Text, nullable=False),
    Column("submission_id", Integer),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    one_of("state", "idle", "running", "draining"),
    CheckConstraint("name <> '' AND chips >= 0", name="name_given"),
    Index(None, "seen_at"),
)

group_claims = Table(
    "tuner_group_claims",
    metadata,
    own_id(),
    parent("study_id", "studies"),
    Column("group_key", Text, nullable=False),
    Column("state", words_of(GroupState), nullable=False),
    Column("worker", Text, nullable=False),
    Column("claim_token", Text, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("lease_until", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    one_of("state", *GroupState),
    CheckConstraint("worker <> '' AND claim_token <> ''", name="holder_given"),
    finite("heartbeat_at", "lease_until"),
    UniqueConstraint("study_id", "group_key"),
    sqlite_autoincrement=True,
)

_IN_FORCE = text("released_at IS NULL")

quarantines = Table(
    "tuner_quarantines",
    metadata,
    own_id(),
    Column("host", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("details", json_type(), nullable=False),
    Column("released_at", Float),
    Column("released_by", Text),
    Column("release_reason", Text),
    CheckConstraint("host <> '' AND by <> ''", name="names_given"),
    CheckConstraint("(released_at IS NULL) = (released_by IS NULL)", name="released_by_somebody"),
    Index("uq_tuner_quarantines_host", "host", unique=True, sqlite_where=_IN_FORCE, postgresql_where=_IN_FORCE),
    sqlite_autoincrement=True,
)
