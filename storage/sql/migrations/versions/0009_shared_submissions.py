"""A submission says how many workers may work on its study at once. Earlier ones were for one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tuner_submissions", sa.Column("workers", sa.Integer(), nullable=False, server_default=sa.text("1")))


def downgrade() -> None:
    """Claims go: an older tuner gives a study to one worker, which claims no groups."""
    op.execute("DELETE FROM tuner_group_claims")
    op.drop_column("tuner_submissions", "workers")
