"""Blank a conflict with the learner whose answers it holds, whoever has its uuid now."""

from alembic import op

revision = "388"
down_revision = "387"

BLANK = """
    CREATE OR REPLACE FUNCTION blank_uploads() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE upload_conflicts SET payload = NULL FROM uploads
        WHERE {owner} = OLD.id
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
"""


def upgrade() -> None:
    op.execute(BLANK.format(owner="coalesce(upload_conflicts.user_id, uploads.user_id)"))


def downgrade() -> None:
    op.execute(BLANK.format(owner="uploads.user_id"))
