"""Blank a learner's uploads when the learner is deleted."""

from alembic import op

revision = "380"
down_revision = "379"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION blank_uploads() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE upload_conflicts SET payload = NULL FROM uploads
            WHERE uploads.user_id = OLD.id
              AND uploads.client_session_uuid = upload_conflicts.client_session_uuid;
            UPDATE uploads SET
                payload = NULL,
                result = NULL,
                status = CASE status WHEN 'received' THEN 'rejected' ELSE status END,
                reason = CASE status WHEN 'received' THEN 'learner_deleted' ELSE reason END,
                finalized_at = coalesce(finalized_at, now())
            WHERE user_id = OLD.id;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER blank_uploads AFTER DELETE ON users
        FOR EACH ROW EXECUTE FUNCTION blank_uploads()
    """)


def downgrade() -> None:
    op.execute("DROP TRIGGER blank_uploads ON users")
    op.execute("DROP FUNCTION blank_uploads")
