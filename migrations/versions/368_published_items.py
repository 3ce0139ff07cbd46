"""Add the editions of the questions, each under the public id by which a viewer knows it."""

from alembic import op

from shared.db import catalog_is_ours

revision = "368"
down_revision = "367"


def upgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("""
            CREATE TABLE published_items (
                pub_id text CONSTRAINT pk_published_items PRIMARY KEY,
                source_id bigint NOT NULL
                    CONSTRAINT fk_published_items_source_id REFERENCES study_questions (id) ON DELETE CASCADE,
                choices jsonb NOT NULL,
                correct_choice smallint NOT NULL,
                published_at timestamptz
            )
        """)
        op.execute("CREATE INDEX ix_published_items_source_id ON published_items (source_id)")


def downgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("DROP TABLE published_items")
