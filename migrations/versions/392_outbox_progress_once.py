"""Let at most one `progress.changed` wait."""

from alembic import op

from migrations import concurrently

revision = "392"
down_revision = "391"


def upgrade() -> None:
    with concurrently():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS uq_outbox_progress_changed")
        op.execute("""
            CREATE UNIQUE INDEX CONCURRENTLY uq_outbox_progress_changed ON outbox (kind)
            WHERE kind = 'progress.changed' AND status = 'waiting'
        """)


def downgrade() -> None:
    op.execute("DROP INDEX uq_outbox_progress_changed")
