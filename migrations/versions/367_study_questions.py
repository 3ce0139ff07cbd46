"""Add the questions; a question has the owner of its topic."""

from alembic import op

from shared.db import catalog_is_ours

revision = "367"
down_revision = "366"


def upgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("""
            CREATE TABLE study_questions (
                id bigint CONSTRAINT pk_study_questions PRIMARY KEY,
                user_id bigint NOT NULL,
                study_topic_id bigint NOT NULL,
                subject text NOT NULL,
                exam_frequency double precision,
                retired_at timestamptz,
                CONSTRAINT fk_study_questions_study_topic_id_user_id
                    FOREIGN KEY (study_topic_id, user_id)
                    REFERENCES study_topics (id, user_id) ON DELETE CASCADE
            )
        """)
        op.execute("""
            CREATE INDEX ix_study_questions_study_topic_id_user_id
            ON study_questions (study_topic_id, user_id)
        """)


def downgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("DROP TABLE study_questions")
