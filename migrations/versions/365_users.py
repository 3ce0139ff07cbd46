"""Add the learners."""

from alembic import op

revision = "365"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE users (
            id bigint CONSTRAINT pk_users PRIMARY KEY,
            time_zone text
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE users")
