"""Blank also what was never ingested of a learner, and what came under its uuid."""

from alembic import op

revision = "390"
down_revision = "389"

BLANK = """
    CREATE OR REPLACE FUNCTION blank_uploads() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        theirs text[] := ARRAY(
            SELECT pub_id FROM study_topics
            JOIN study_questions ON study_topic_id = study_topics.id
            JOIN published_items ON source_id = study_questions.id
            WHERE study_topics.user_id = OLD.id
        );
        blanked uuid[] := ARRAY(
            SELECT client_session_uuid FROM uploads WHERE user_id = OLD.id
            UNION ALL
            SELECT client_session_uuid FROM uploads
            WHERE (status = 'received' OR status IN ('rejected', 'dead')) AND user_id IS NULL
              AND EXISTS (
                  SELECT FROM jsonb_path_query(payload, '$.attempts[*].pub_id') AS named
                  WHERE named #>> '{}' = ANY(theirs)
              )
        );
    BEGIN
        UPDATE upload_conflicts SET payload = NULL
        WHERE user_id = OLD.id OR user_id IS NULL AND (
            client_session_uuid = ANY(blanked)
            OR EXISTS (
                SELECT FROM jsonb_path_query(payload, '$.attempts[*].pub_id') AS named
                WHERE named #>> '{}' = ANY(theirs)
            )
        );
        UPDATE uploads SET
            payload = NULL,
            result = NULL,
            user_id = OLD.id,
            status = CASE status WHEN 'received' THEN 'rejected' ELSE status END,
            reason = CASE status WHEN 'received' THEN 'learner_deleted' ELSE reason END,
            finalized_at = coalesce(finalized_at, now())
        WHERE client_session_uuid = ANY(blanked);
        RETURN OLD;
    END $$
"""

BEFORE = """
    CREATE OR REPLACE FUNCTION blank_uploads() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE upload_conflicts SET payload = NULL FROM uploads
        WHERE coalesce(upload_conflicts.user_id, uploads.user_id) = OLD.id
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
    op.execute(BLANK)


def downgrade() -> None:
    op.execute(BEFORE)
