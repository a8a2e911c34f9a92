"""Trials and comparisons have factors: settings under study beyond page size, chunk budget and arm. Earlier ones have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLES = ("tuner_trials", "tuner_comparisons")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("factors", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """An older tuner would take the cells of a study with factors for one, so such studies go."""
    with_factors = "SELECT study_id FROM tuner_trials WHERE factors IS NOT NULL AND CAST(factors AS TEXT) <> '{}'"
    op.execute(f"DELETE FROM tuner_studies WHERE id IN ({with_factors})")  # noqa: S608  # our own words
    for table in reversed(_TABLES):
        op.drop_column(table, "factors")
