"""Mark the sessions that ingest has finalized."""

from alembic import op

revision = "373"
down_revision = "372"


def upgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions ADD COLUMN finalized_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions DROP COLUMN finalized_at")
