"""Keep the clock shift of content in whose place other content is accepted."""

from alembic import op

revision = "397"
down_revision = "396"


def upgrade() -> None:
    op.execute("ALTER TABLE upload_conflicts ADD COLUMN clock_shift interval")


def downgrade() -> None:
    op.execute("ALTER TABLE upload_conflicts DROP COLUMN clock_shift")
