"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Parents before children."""
    _create_environments()
    _create_studies()
    _create_workloads()
    _create_recommendations()
    _create_trials()
    _create_comparisons()
    _create_measurements()
    _create_profiles()
    _create_requests_summary()


def downgrade() -> None:
    """Children before parents."""
    children = ("requests_summary", "profiles", "measurements", "comparisons", "trials", "recommendations")
    for table in (*children, "workloads", "studies", "environments"):
        op.drop_table(f"tuner_{table}")


def _create_environments() -> None:
    op.create_table(
        "tuner_environments",
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("accelerator", sa.Text(), nullable=False),
        sa.Column("device_count", sa.Integer(), nullable=False),
        sa.Column("versions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=False),
        sa.CheckConstraint("fingerprint <> ''", name=op.f("ck_tuner_environments_fingerprint_given")),
        sa.CheckConstraint("device_count >= 1", name=op.f("ck_tuner_environments_device_count_positive")),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_tuner_environments")),
    )


def _create_studies() -> None:
    op.create_table(
        "tuner_studies",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("objective", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("model_features", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("engine_starts", sa.Integer(), nullable=False),
        sa.Column("cost", sa.JSON(none_as_null=True), nullable=False),
        sa.CheckConstraint("state IN ('RUNNING', 'COMPLETE', 'INTERRUPTED', 'FAIL')", name=op.f("ck_tuner_studies_state_known")),
        sa.CheckConstraint("engine_starts >= 0", name=op.f("ck_tuner_studies_engine_starts_counted")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name=op.f("ck_tuner_studies_name_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_studies")),
        sa.UniqueConstraint("name", name=op.f("uq_tuner_studies_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_studies_created_at_id"), "tuner_studies", ["created_at", "id"])
    op.create_index(op.f("ix_tuner_studies_model_created_at"), "tuner_studies", ["model", "created_at"])


def _create_workloads() -> None:
    op.create_table(
        "tuner_workloads",
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("summary", sa.JSON(none_as_null=True), nullable=False),
        sa.CheckConstraint("content_hash <> ''", name=op.f("ck_tuner_workloads_content_hash_given")),
        sa.PrimaryKeyConstraint("content_hash", name=op.f("pk_tuner_workloads")),
    )


def _create_recommendations() -> None:
    op.create_table(
        "tuner_recommendations",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("accelerator", sa.Text(), nullable=False),
        sa.Column("device_count", sa.Integer(), nullable=False),
        sa.Column("workload_hash", sa.Text(), nullable=False),
        sa.Column("objective", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("published_at", sa.Float(), nullable=True),
        sa.Column("withdrawn_at", sa.Float(), nullable=True),
        sa.CheckConstraint("status IN ('recommended', 'default', 'none')", name=op.f("ck_tuner_recommendations_status_known")),
        sa.CheckConstraint("device_count >= 1", name=op.f("ck_tuner_recommendations_device_count_positive")),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_recommendations_study_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workload_hash"], ["tuner_workloads.content_hash"], name=op.f("fk_tuner_recommendations_workload_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_recommendations")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_recommendations_created_at_id"), "tuner_recommendations", ["created_at", "id"])
    op.create_index(
        op.f("ix_tuner_recommendations_model_accelerator_created_at"), "tuner_recommendations", ["model", "accelerator", "created_at"]
    )
    op.create_index(op.f("ix_tuner_recommendations_study_id_created_at"), "tuner_recommendations", ["study_id", "created_at"])
    op.create_index(op.f("ix_tuner_recommendations_workload_hash"), "tuner_recommendations", ["workload_hash"])


def _create_trials() -> None:
    op.create_table(
        "tuner_trials",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("block_size", sa.Integer(), nullable=False),
        sa.Column("max_num_batched_tokens", sa.Integer(), nullable=False),
        sa.Column("requested", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("workload_hash", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("effective", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("optuna_trial_id", sa.Integer(), nullable=True),
        sa.Column("objective_values", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("log_excerpt", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("notes", sa.JSON(none_as_null=True), nullable=False),
        sa.CheckConstraint(
            "(state IN ('COMPLETE', 'PRUNED', 'FAIL') AND finished_at IS NOT NULL) OR (state IN ('WAITING', 'RUNNING')"
            " AND finished_at IS NULL AND objective_values IS NULL)",
            name=op.f("ck_tuner_trials_results_only_when_finished"),
        ),
        sa.CheckConstraint("arm IN ('default', 'page_aligned')", name=op.f("ck_tuner_trials_arm_known")),
        sa.CheckConstraint("error_class IS NULL OR state IN ('FAIL', 'PRUNED')", name=op.f("ck_tuner_trials_error_class_means_failed")),
        sa.CheckConstraint("stage IN ('search', 'confirm')", name=op.f("ck_tuner_trials_stage_known")),
        sa.CheckConstraint(
            "state <> 'COMPLETE' OR (objective_values IS NOT NULL AND CAST(objective_values AS TEXT) <> '{}')",
            name=op.f("ck_tuner_trials_complete_has_values"),
        ),
        sa.CheckConstraint(
            "state <> 'FAIL' OR (objective_values IS NULL AND error_class IS NOT NULL AND error_class <> '')",
            name=op.f("ck_tuner_trials_fail_has_no_values"),
        ),
        sa.CheckConstraint("state IN ('WAITING', 'RUNNING', 'COMPLETE', 'PRUNED', 'FAIL')", name=op.f("ck_tuner_trials_state_known")),
        sa.CheckConstraint("block_size >= 1 AND max_num_batched_tokens >= 1", name=op.f("ck_tuner_trials_sizes_positive")),
        sa.CheckConstraint("number >= 0", name=op.f("ck_tuner_trials_number_counted")),
        sa.CheckConstraint("objective_values IS NULL OR json_valid(objective_values)", name=op.f("ck_tuner_trials_values_finite")).ddl_if(
            dialect="sqlite"
        ),
        sa.ForeignKeyConstraint(["environment"], ["tuner_environments.fingerprint"], name=op.f("fk_tuner_trials_environment")),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_trials_study_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["workload_hash"], ["tuner_workloads.content_hash"], name=op.f("fk_tuner_trials_workload_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_trials")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_tuner_trials_study_id_number")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_trials_environment"), "tuner_trials", ["environment"])
    op.create_index(op.f("ix_tuner_trials_study_id_state"), "tuner_trials", ["study_id", "state"])
    op.create_index(op.f("ix_tuner_trials_workload_hash"), "tuner_trials", ["workload_hash"])


def _create_comparisons() -> None:
    op.create_table(
        "tuner_comparisons",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("block_size", sa.Integer(), nullable=False),
        sa.Column("max_num_batched_tokens", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("ratio", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("baseline_trial_id", sa.Integer(), nullable=True),
        sa.Column("candidate_trial_id", sa.Integer(), nullable=True),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "verdict = 'inconclusive' OR (ratio IS NOT NULL AND low IS NOT NULL AND high IS NOT NULL)",
            name=op.f("ck_tuner_comparisons_verdict_has_interval"),
        ),
        sa.CheckConstraint("verdict IN ('better', 'worse', 'equivalent', 'inconclusive')", name=op.f("ck_tuner_comparisons_verdict_known")),
        sa.CheckConstraint("pairs >= 0", name=op.f("ck_tuner_comparisons_pairs_counted")),
        sa.CheckConstraint(
            "ratio >= 0 AND ratio < 1e308 AND low >= 0 AND low < 1e308 AND high >= 0 AND high < 1e308",
            name=op.f("ck_tuner_comparisons_finite"),
        ),
        sa.ForeignKeyConstraint(
            ["baseline_trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_comparisons_baseline_trial_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["candidate_trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_comparisons_candidate_trial_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_comparisons_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_comparisons")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_comparisons_baseline_trial_id"), "tuner_comparisons", ["baseline_trial_id"])
    op.create_index(op.f("ix_tuner_comparisons_candidate_trial_id"), "tuner_comparisons", ["candidate_trial_id"])
    op.create_index("ix_tuner_comparisons_cell", "tuner_comparisons", ["study_id", "block_size", "max_num_batched_tokens"])


def _create_measurements() -> None:
    op.create_table(
        "tuner_measurements",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("valid", sa.Boolean(), nullable=False),
        sa.Column("invalid_reason", sa.Text(), nullable=True),
        sa.Column("details", sa.JSON(none_as_null=True), nullable=False),
        sa.CheckConstraint("invalid_reason <> ''", name=op.f("ck_tuner_measurements_invalid_reason_given")),
        sa.CheckConstraint("duration_s >= 0 AND duration_s < 1e308", name=op.f("ck_tuner_measurements_finite")),
        sa.CheckConstraint("round >= 0 AND position >= 0", name=op.f("ck_tuner_measurements_order_counted")),
        sa.CheckConstraint("valid = (invalid_reason IS NULL)", name=op.f("ck_tuner_measurements_invalid_has_reason")),
        sa.ForeignKeyConstraint(["trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_measurements_trial_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_measurements")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_measurements_trial_id_round_position"), "tuner_measurements", ["trial_id", "round", "position"])


def _create_profiles() -> None:
    op.create_table(
        "tuner_profiles",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("logdir", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("quality", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("summary", sa.JSON(none_as_null=True), nullable=False),
        sa.CheckConstraint("phase IN ('all', 'prefill', 'decode', 'mixed')", name=op.f("ck_tuner_profiles_phase_known")),
        sa.CheckConstraint("status IN ('ok', 'bad', 'missing')", name=op.f("ck_tuner_profiles_status_known")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_tuner_profiles_size_counted")),
        sa.ForeignKeyConstraint(["trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_profiles_trial_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_profiles")),
        sa.UniqueConstraint("trial_id", "logdir", "run", "session", "host", "phase", name="uq_tuner_profiles_identity"),
        sqlite_autoincrement=True,
    )


def _create_requests_summary() -> None:
    op.create_table(
        "tuner_requests_summary",
        sa.Column("measurement_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("mean_ms", sa.Float(), nullable=False),
        sa.Column("std_ms", sa.Float(), nullable=False),
        sa.Column("p50_ms", sa.Float(), nullable=False),
        sa.Column("p90_ms", sa.Float(), nullable=False),
        sa.Column("p95_ms", sa.Float(), nullable=False),
        sa.Column("p99_ms", sa.Float(), nullable=False),
        sa.Column("max_ms", sa.Float(), nullable=False),
        sa.CheckConstraint("metric IN ('ttft', 'tpot', 'itl', 'e2el')", name=op.f("ck_tuner_requests_summary_metric_known")),
        sa.CheckConstraint('"count" >= 1', name=op.f("ck_tuner_requests_summary_not_empty")),
        sa.CheckConstraint(
            "mean_ms >= 0 AND mean_ms < 1e308 AND std_ms >= 0 AND std_ms < 1e308 AND p50_ms >= 0 AND p50_ms < 1e308"
            " AND p90_ms >= 0 AND p90_ms < 1e308 AND p95_ms >= 0 AND p95_ms < 1e308 AND p99_ms >= 0 AND p99_ms < 1e308"
            " AND max_ms >= 0 AND max_ms < 1e308",
            name=op.f("ck_tuner_requests_summary_finite"),
        ),
        sa.ForeignKeyConstraint(
            ["measurement_id"], ["tuner_measurements.id"], name=op.f("fk_tuner_requests_summary_measurement_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("measurement_id", "metric", name=op.f("pk_tuner_requests_summary")),
    )
