"""Check the stored rows of the outbox by the constraints of revision 391; replays go on meanwhile."""

from alembic import op

revision = "398"
down_revision = "397"


def upgrade() -> None:
    op.execute("SET LOCAL statement_timeout = '1h'")
    op.execute("ALTER TABLE outbox VALIDATE CONSTRAINT ck_outbox_kind, VALIDATE CONSTRAINT ck_outbox_subject")


def downgrade() -> None:
    op.execute("""
        ALTER TABLE outbox
            DROP CONSTRAINT ck_outbox_kind,
            DROP CONSTRAINT ck_outbox_subject,
            ADD CONSTRAINT ck_outbox_kind
                CHECK (kind IN ('explain_misses', 'weak_areas', 'upload.dead', 'progress.changed')) NOT VALID,
            ADD CONSTRAINT ck_outbox_subject CHECK (CASE
                WHEN kind = 'progress.changed'
                THEN num_nonnulls(user_id, study_quiz_session_id, client_session_uuid) = 0
                WHEN kind = 'upload.dead'
                THEN client_session_uuid IS NOT NULL AND study_quiz_session_id IS NULL
                ELSE user_id IS NOT NULL AND study_quiz_session_id IS NOT NULL END) NOT VALID
    """)
