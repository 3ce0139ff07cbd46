"""Mark blanked uploads: a payload that was only purged is stored again when it is sent again."""

from alembic import op

revision = "401"
down_revision = "400"


def upgrade() -> None:
    op.execute("ALTER TABLE uploads ADD COLUMN blanked boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE uploads DROP COLUMN blanked")
