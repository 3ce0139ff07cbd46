"""Add an index that finds the events of an upload."""

from alembic import op

revision = "382"
down_revision = "381"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_upload_events_client_session_uuid ON upload_events (client_session_uuid)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_upload_events_client_session_uuid")
