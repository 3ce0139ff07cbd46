"""Make the ids of webhooks begin with their time (UUIDv7), so that new ones share a page of the index.

Each random id changes another page of the index, and Postgres logs a whole page at the first change after a
checkpoint.
"""

from alembic import op

revision = "396"
down_revision = "395"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE outbox ALTER id SET DEFAULT CAST(
            lpad(to_hex(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)), 12, '0')
            || '7' || substr(replace(CAST(gen_random_uuid() AS text), '-', ''), 14) AS uuid)
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE outbox ALTER id SET DEFAULT gen_random_uuid()")
