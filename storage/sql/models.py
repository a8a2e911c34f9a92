"""The tables. Names start with `tuner_`: Optuna keeps tables called `studies` and `trials` in the same database.

Columns carry the names of the records' fields, so that a row is a record. What SQL can enforce of the state gate stands here as CHECK
constraints: a FAIL trial has an error class and no values, only a trial with values is COMPLETE, an unfinished trial has no results.
`< 1e308` keeps infinity out on both dialects and NaN out of PostgreSQL, which sorts it above every number (SQLite stores NaN as NULL).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Float, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from storage.records import CapacityState, Stage, StudyState, TrialState
from storage.sql.columns import TABLE_PREFIX, finite, json_type, metadata, one_of, own_id, parent, words_of
from storage.sql.queue_models import fleet_workers, group_claims, quarantines, submission_events, submissions, team_limits

__all__ = ["TABLE_PREFIX", "api_tokens", "audit", "capacity_runs", "capacity_windows", "comparisons", "environments", "fleet_workers"]
__all__ += ["foresight", "group_claims", "leases", "measurements", "metadata", "profiles", "recommendations", "studies"]
__all__ += ["quarantines", "submission_events", "submissions", "team_limits", "trials", "workloads"]

environments = Table(
    "tuner_environments",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("platform", Text, nullable=False),
    Column("accelerator", Text, nullable=False),
    Column("device_count", Integer, nullable=False),
    Column("versions", json_type(), nullable=False),
    Column("details", json_type(), nullable=False),
    CheckConstraint("fingerprint <> ''", name="fingerprint_given"),
    CheckConstraint("device_count >= 1", name="device_count_positive"),
)

workloads = Table(
    "tuner_workloads",
    metadata,
    Column("content_hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("spec", json_type(), nullable=False),
    Column("summary", json_type(), nullable=False),
    CheckConstraint("content_hash <> ''", name="content_hash_given"),
)

studies = Table(
    "tuner_studies",
    metadata,
    own_id(),
    Column("name", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("config", json_type(), nullable=False),
    Column("objective", Text, nullable=False),
    Column("state", words_of(StudyState), nullable=False),
    Column("model_features", json_type(), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("engine_starts", Integer, nullable=False),
    Column("cost", json_type(), nullable=False),
    Column("tags", json_type()),
    Column("archived_at", Float),
    CheckConstraint("length(name) BETWEEN 1 AND 255", name="name_length"),
    CheckConstraint("engine_starts >= 0", name="engine_starts_counted"),
    one_of("state", *StudyState),
    Index(None, "created_at", "id"),
    Index(None, "model", "created_at"),
    sqlite_autoincrement=True,
)

leases = Table(
    "tuner_leases",
    metadata,
    Column("study_id", Integer, ForeignKey("tuner_studies.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("token", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("process_started_at", Float, nullable=False),
    Column("heartbeat", Float, nullable=False),
    CheckConstraint("token <> ''", name="token_given"),
)

trials = Table(
    "tuner_trials",
    metadata,
    own_id(),
    parent("study_id", "studies"),
    Column("number", Integer, nullable=False),
    Column("arm", Text, nullable=False),
    Column("block_size", Integer, nullable=False),
    Column("max_num_batched_tokens", Integer, nullable=False),
    Column("requested", json_type(), nullable=False),
    Column("workload_hash", Text, ForeignKey("tuner_workloads.content_hash"), nullable=False, index=True),
    Column("stage", words_of(Stage), nullable=False),
    Column("state", words_of(TrialState), nullable=False),
    Column("effective", json_type(), nullable=False),
    Column("environment", Text, ForeignKey("tuner_environments.fingerprint"), index=True),
    Column("optuna_trial_id", Integer),
    Column("objective_values", json_type(), key="values"),
    Column("error_class", Text),
    Column("error_message", Text),
    Column("log_excerpt", Text),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("notes", json_type(), nullable=False),
    Column("factors", json_type()),  # NULL in rows from before there were any
    UniqueConstraint("study_id", "number"),
    CheckConstraint("number >= 0", name="number_counted"),
    CheckConstraint("block_size >= 1 AND max_num_batched_tokens >= 1", name="sizes_positive"),
    one_of("arm", "default", "page_aligned"),
    one_of("stage", *Stage),
    one_of("state", *TrialState),
    CheckConstraint(
        "state <> 'COMPLETE' OR (objective_values IS NOT NULL AND CAST(objective_values AS TEXT) <> '{}')", name="complete_has_values"
    ),
    CheckConstraint(
        "state <> 'FAIL' OR (objective_values IS NULL AND error_class IS NOT NULL AND error_class <> '')", name="fail_has_no_values"
    ),
    CheckConstraint("error_class IS NULL OR state IN ('FAIL', 'PRUNED')", name="error_class_means_failed"),
    CheckConstraint(
        "(state IN ('COMPLETE', 'PRUNED', 'FAIL') AND finished_at IS NOT NULL)"
        " OR (state IN ('WAITING', 'RUNNING') AND finished_at IS NULL AND objective_values IS NULL)",
        name="results_only_when_finished",
    ),
    # SQLite's json_valid refuses NaN and Infinity, which Python's JSON writer lets through; PostgreSQL's JSON type refuses them itself.
    CheckConstraint("objective_values IS NULL OR json_valid(objective_values)", name="values_finite").ddl_if(dialect="sqlite"),
    Index(None, "study_id", "state"),
    sqlite_autoincrement=True,
)

measurements = Table(
    "tuner_measurements",
    metadata,
    own_id(),
    parent("trial_id", "trials"),
    Column("round", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("metrics", json_type(), nullable=False),
    Column("valid", Boolean, nullable=False),
    Column("invalid_reason", Text),
    Column("details", json_type(), nullable=False),
    CheckConstraint("round >= 0 AND position >= 0", name="order_counted"),
    CheckConstraint("valid = (invalid_reason IS NULL)", name="invalid_has_reason"),
    CheckConstraint("invalid_reason <> ''", name="invalid_reason_given"),
    finite("duration_s"),
    Index(None, "trial_id", "round", "position"),
    sqlite_autoincrement=True,
)

profiles = Table(
    "tuner_profiles",
    metadata,
    own_id(),
    parent("trial_id", "trials"),
    Column("logdir", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("status", Text, nullable=False),
    Column("quality", json_type(), nullable=False),
    Column("summary", json_type(), nullable=False),
    UniqueConstraint("trial_id", "logdir", "run", "session", "host", "phase", name="uq_tuner_profiles_identity"),
    CheckConstraint("size_bytes >= 0", name="size_counted"),
    one_of("phase", "all", "prefill", "decode", "mixed"),
    one_of("status", "ok", "bad", "missing"),
    sqlite_autoincrement=True,
)

comparisons = Table(
    "tuner_comparisons",
    metadata,
    own_id(),
    parent("study_id", "studies"),
    Column("metric", Text, nullable=False),
    Column("block_size", Integer, nullable=False),
    Column("max_num_batched_tokens", Integer, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("pairs", Integer, nullable=False),
    Column("ratio", Float),
    Column("low", Float),
    Column("high", Float),
    Column("baseline_trial_id", Integer, ForeignKey("tuner_trials.id", ondelete="CASCADE"), index=True),
    Column("candidate_trial_id", Integer, ForeignKey("tuner_trials.id", ondelete="CASCADE"), index=True),
    Column("details", json_type(), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("factors", json_type()),  # NULL in rows from before there were any
    one_of("verdict", "better", "worse", "equivalent", "inconclusive"),
    CheckConstraint("pairs >= 0", name="pairs_counted"),
    # A verdict other than "inconclusive" is a claim about an interval, so it needs one.
    CheckConstraint(
        "verdict = 'inconclusive' OR (ratio IS NOT NULL AND low IS NOT NULL AND high IS NOT NULL)", name="verdict_has_interval"
    ),
    finite("ratio", "low", "high"),
    Index("ix_tuner_comparisons_cell", "study_id", "block_size", "max_num_batched_tokens"),
    sqlite_autoincrement=True,
)

recommendations = Table(
    "tuner_recommendations",
    metadata,
    own_id(),
    parent("study_id", "studies"),
    Column("status", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("accelerator", Text, nullable=False),
    Column("device_count", Integer, nullable=False),
    Column("workload_hash", Text, ForeignKey("tuner_workloads.content_hash"), nullable=False, index=True),
    Column("objective", Text, nullable=False),
    Column("body", json_type(), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("published_at", Float),
    Column("withdrawn_at", Float),
    one_of("status", "recommended", "default", "none"),
    CheckConstraint("device_count >= 1", name="device_count_positive"),
    Index(None, "study_id", "created_at"),
    Index(None, "model", "accelerator", "created_at"),
    Index("ix_tuner_recommendations_hardware", "accelerator", "device_count", "created_at"),
    Index(None, "created_at", "id"),
    sqlite_autoincrement=True,
)

foresight = Table(
    "tuner_foresight",
    metadata,
    own_id(),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("accelerator", Text, nullable=False),
    Column("device_count", Integer, nullable=False),
    Column("question", json_type(), nullable=False),
    Column("answer", json_type(), nullable=False),
    Column("created_at", Float, nullable=False),
    CheckConstraint("length(key) = 64", name="key_is_sha256"),
    CheckConstraint("device_count >= 1", name="device_count_positive"),
    one_of("kind", "engine", "program", "configuration"),
    Index(None, "kind", "model", "id"),
    sqlite_autoincrement=True,
)

capacity_runs = Table(
    "tuner_capacity_runs",
    metadata,
    own_id(),
    Column("model", Text, nullable=False),
    Column("workload_hash", Text, ForeignKey("tuner_workloads.content_hash"), nullable=False, index=True),
    Column("launcher", Text, nullable=False),
    Column("slos", json_type(), nullable=False),
    Column("question", json_type(), nullable=False),
    Column("requested", json_type(), nullable=False),
    Column("state", words_of(CapacityState), nullable=False),
    Column("environment", Text, ForeignKey("tuner_environments.fingerprint"), index=True),
    Column("effective", json_type(), nullable=False),
    Column("edge", Float),
    Column("low", Float),
    Column("high", Float),
    Column("reason", Text),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    one_of("state", *CapacityState),
    CheckConstraint("state <> 'found' OR (edge IS NOT NULL AND low IS NOT NULL AND high IS NOT NULL)", name="found_has_interval"),
    finite("edge", "low", "high"),
    Index(None, "model", "id"),
    sqlite_autoincrement=True,
)

capacity_windows = Table(
    "tuner_capacity_windows",
    metadata,
    own_id(),
    parent("run_id", "capacity_runs"),
    Column("number", Integer, nullable=False),
    Column("load", Float, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("held", Boolean, nullable=False),
    Column("metrics", json_type(), nullable=False),
    Column("readings", json_type(), nullable=False),
    Column("invalid_reason", Text),
    Column("details", json_type(), nullable=False),
    UniqueConstraint("run_id", "number"),
    CheckConstraint("number >= 0", name="number_counted"),
    CheckConstraint("NOT held OR invalid_reason IS NULL", name="held_is_valid"),
    finite("load", "duration_s"),
    sqlite_autoincrement=True,
)

api_tokens = Table(
    "tuner_api_tokens",
    metadata,
    own_id(),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False),
    Column("scopes", json_type(), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    CheckConstraint("length(name) BETWEEN 1 AND 255", name="name_length"),
    CheckConstraint("length(digest) = 64", name="digest_is_sha256"),
    # A rotated token may live on for a while beside its successor, so a name is taken only until it is revoked.
    Index(
        "uq_tuner_api_tokens_name",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

audit = Table(
    "tuner_audit",
    metadata,
    own_id(),
    Column("at", Float, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("request_id", Text),
    Column("detail", Text, nullable=False),
    CheckConstraint("actor <> ''", name="actor_given"),
    one_of("kind", "recommendation", "study", "token"),
    Index(None, "kind", "subject", "id"),
    sqlite_autoincrement=True,
)
