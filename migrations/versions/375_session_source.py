"""Distinguish viewer sessions from live ones; existing sessions are live."""

from alembic import op

revision = "375"
down_revision = "374"


def upgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions ADD COLUMN source varchar(20) NOT NULL DEFAULT 'live'")


def downgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions DROP COLUMN source")
