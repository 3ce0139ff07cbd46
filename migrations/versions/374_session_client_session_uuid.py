"""Let a session name the upload that it came from."""

from alembic import op

revision = "374"
down_revision = "373"


def upgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions ADD COLUMN client_session_uuid varchar(64)")


def downgrade() -> None:
    op.execute("ALTER TABLE study_quiz_sessions DROP COLUMN client_session_uuid")
