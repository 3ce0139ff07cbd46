"""Show the current edition of each question: the newest published one."""

from alembic import op
from sqlalchemy import text

from shared.db import scalar

revision = "369"
down_revision = "368"


def upgrade() -> None:
    # Where the catalog is a document server's, its owner has written this view with the others.
    if scalar(op.get_bind(), text("SELECT to_regclass('current_editions')")) is not None:
        return
    op.execute("""
        CREATE VIEW current_editions AS
        SELECT question.id AS source_id, newest.pub_id, newest.choices, newest.correct_choice,
            newest.published_at
        FROM study_questions AS question CROSS JOIN LATERAL (
            SELECT edition.pub_id, edition.choices, edition.correct_choice, edition.published_at
            FROM published_items AS edition
            WHERE edition.source_id = question.id
                AND (edition.published_at IS NULL OR edition.published_at <= now())
            ORDER BY edition.published_at DESC NULLS LAST, edition.pub_id COLLATE "C" LIMIT 1) AS newest
    """)


def downgrade() -> None:
    op.execute("DROP VIEW current_editions")
