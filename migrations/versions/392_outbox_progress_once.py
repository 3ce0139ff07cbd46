"""Let at most one `progress.changed` wait."""

from alembic import op

revision = "392"
down_revision = "391"


def upgrade() -> None:
    op.execute("""
        CREATE UNIQUE INDEX uq_outbox_progress_changed ON outbox (kind)
        WHERE kind = 'progress.changed' AND status = 'waiting'
    """)


def downgrade() -> None:
    op.execute("DROP INDEX uq_outbox_progress_changed")
