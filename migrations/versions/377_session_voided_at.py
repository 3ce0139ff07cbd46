"""Let a session be voided."""

from alembic import op

revision = "377"
down_revision = "376"


def upgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions ADD COLUMN voided_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions DROP COLUMN voided_at")
