"""Add the learners."""

from alembic import op

from migrations import MARK
from shared.db import catalog_is_ours

revision = "365"
down_revision = None


def upgrade() -> None:
    op.execute(f"COMMENT ON TABLE alembic_version IS '{MARK}'")
    if catalog_is_ours(op.get_bind()):
        op.execute("""
            CREATE TABLE users (
                id bigint CONSTRAINT pk_users PRIMARY KEY,
                time_zone text
            )
        """)


def downgrade() -> None:
    if catalog_is_ours(op.get_bind()):
        op.execute("DROP TABLE users")
