"""Record this transaction as the last change of every learner who has progress already."""

from alembic import op

revision = "387"
down_revision = "386"


def upgrade() -> None:
    op.execute("SET LOCAL statement_timeout = '1h'")  # it reads a large table, and blocks nobody
    op.execute("""
        INSERT INTO learner_changes (user_id, changed_xid, whole_xid)
        SELECT DISTINCT user_id, pg_current_xact_id(), pg_current_xact_id() FROM study_question_progress
        ON CONFLICT (user_id) DO NOTHING
    """)


def downgrade() -> None:
    op.execute("DELETE FROM learner_changes")
