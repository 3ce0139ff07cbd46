"""Allow `progress.changed` in the outbox: such a row names no learner, session or upload.

Stored rows are checked by revision 398: here, every replay would wait for that.
"""

from alembic import op

revision = "391"
down_revision = "390"


def upgrade() -> None:
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


def downgrade() -> None:
    op.execute("DELETE FROM outbox WHERE kind = 'progress.changed'")
    op.execute("""
        ALTER TABLE outbox
            DROP CONSTRAINT ck_outbox_kind,
            DROP CONSTRAINT ck_outbox_subject,
            ADD CONSTRAINT ck_outbox_kind CHECK (kind IN ('explain_misses', 'weak_areas', 'upload.dead')),
            ADD CONSTRAINT ck_outbox_subject CHECK (CASE
                WHEN kind = 'upload.dead'
                THEN client_session_uuid IS NOT NULL AND study_quiz_session_id IS NULL
                ELSE user_id IS NOT NULL AND study_quiz_session_id IS NOT NULL END)
    """)
