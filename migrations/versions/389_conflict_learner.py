"""Record the learner that the token of a conflict's sender names."""

from alembic import op

revision = "389"
down_revision = "388"


def upgrade() -> None:
    op.execute("ALTER TABLE upload_conflicts ADD COLUMN learner_id bigint")


def downgrade() -> None:
    op.execute("ALTER TABLE upload_conflicts DROP COLUMN learner_id")
