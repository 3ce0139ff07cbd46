"""Say why a session was voided."""

from alembic import op

revision = "381"
down_revision = "380"


def upgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions ADD COLUMN void_reason text")


def downgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions DROP COLUMN void_reason")
