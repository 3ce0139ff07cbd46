"""Find the uploads of a span of time; an index by ranges of pages costs their arrival next to nothing."""

from alembic import op

from migrations.locks import concurrently

revision = "382"
down_revision = "381"

INDEX = "ix_uploads_times"


def upgrade() -> None:
    with concurrently():
        # A build that was cut short leaves an invalid index, which IF NOT EXISTS would keep.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(f"""
            CREATE INDEX CONCURRENTLY {INDEX} ON uploads USING brin (received_at, finalized_at)
            WITH (autosummarize = true)
        """)


def downgrade() -> None:
    with concurrently():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
