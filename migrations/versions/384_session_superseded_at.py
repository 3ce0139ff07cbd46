"""Let a session be superseded: its upload's uuid was given to other content."""

from alembic import op

revision = "384"
down_revision = "383"


def upgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions ADD COLUMN superseded_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions DROP COLUMN superseded_at")
