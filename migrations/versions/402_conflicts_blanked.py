"""Mark blanked conflicts, as 401 does for uploads."""

from alembic import op

revision = "402"
down_revision = "401"


def upgrade() -> None:
    op.execute("ALTER TABLE upload_conflicts ADD COLUMN blanked boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE upload_conflicts DROP COLUMN blanked")
