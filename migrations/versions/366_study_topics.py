"""Add the topics, each of one learner."""

from alembic import op

from shared.db import catalog_is_ours

revision = "366"
down_revision = "365"


def upgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("""
            CREATE TABLE study_topics (
                id bigint CONSTRAINT pk_study_topics PRIMARY KEY,
                user_id bigint NOT NULL
                    CONSTRAINT fk_study_topics_user_id REFERENCES users (id) ON DELETE CASCADE,
                name text NOT NULL,
                exam_on date,
                CONSTRAINT uq_study_topics_id_user_id UNIQUE (id, user_id)
            )
        """)
        op.execute("CREATE INDEX ix_study_topics_user_id ON study_topics (user_id)")


def downgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("DROP TABLE study_topics")
