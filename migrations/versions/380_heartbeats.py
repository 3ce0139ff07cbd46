"""Keep the time of the sweeper's last heartbeat."""

from alembic import op

revision = "380"
down_revision = "379"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE heartbeats (
            name text CONSTRAINT pk_heartbeats PRIMARY KEY,
            beaten_at timestamptz NOT NULL
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE heartbeats")
