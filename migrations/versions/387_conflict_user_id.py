"""Remember whose answers a conflict holds that was ingested once."""

from alembic import op

revision = "387"
down_revision = "386"


def upgrade() -> None:
    op.execute("ALTER TABLE upload_conflicts ADD COLUMN user_id bigint")


def downgrade() -> None:
    op.execute("ALTER TABLE upload_conflicts DROP COLUMN user_id")
