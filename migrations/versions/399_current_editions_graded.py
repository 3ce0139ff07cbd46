"""Leave out of `current_editions` what no answer can be graded by; an older edition is shown instead.

Where the catalog is a document server's, its owner writes this view: `study-ingest adopt` prints it.
"""

from alembic import op

from shared.db import catalog_is_ours

revision = "399"
down_revision = "398"


def upgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("""
            CREATE OR REPLACE VIEW current_editions AS
            SELECT question.id AS source_id, newest.pub_id, newest.choices, newest.correct_choice,
                newest.published_at
            FROM study_questions AS question CROSS JOIN LATERAL (
                SELECT i.pub_id, i.choices, i.correct_choice, i.published_at
                FROM published_items AS i
                WHERE i.source_id = question.id AND (i.published_at IS NULL OR i.published_at <= now())
                    AND i.correct_choice BETWEEN 0 AND
                    jsonb_array_length(CASE jsonb_typeof(i.choices) WHEN 'array' THEN i.choices END) - 1
                ORDER BY i.published_at DESC NULLS LAST, i.pub_id COLLATE "C" LIMIT 1) AS newest
        """)


def downgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("""
            CREATE OR REPLACE VIEW current_editions AS
            SELECT question.id AS source_id, newest.pub_id, newest.choices, newest.correct_choice,
                newest.published_at
            FROM study_questions AS question CROSS JOIN LATERAL (
                SELECT edition.pub_id, edition.choices, edition.correct_choice, edition.published_at
                FROM published_items AS edition
                WHERE edition.source_id = question.id
                    AND (edition.published_at IS NULL OR edition.published_at <= now())
                ORDER BY edition.published_at DESC NULLS LAST, edition.pub_id COLLATE "C" LIMIT 1) AS newest
        """)
