"""Record since when an upload waits to be replayed."""

from alembic import op

revision = "383"
down_revision = "382"


def upgrade() -> None:
    op.execute("ALTER TABLE uploads ADD COLUMN waiting_since timestamptz NOT NULL DEFAULT now()")


def downgrade() -> None:
    op.execute("ALTER TABLE uploads DROP COLUMN waiting_since")
