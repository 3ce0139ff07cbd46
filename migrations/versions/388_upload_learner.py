"""Record the learner that the token of an upload's sender names."""

from alembic import op

revision = "388"
down_revision = "387"


def upgrade() -> None:
    op.execute("ALTER TABLE uploads ADD COLUMN learner_id bigint")


def downgrade() -> None:
    op.execute("ALTER TABLE uploads DROP COLUMN learner_id")
