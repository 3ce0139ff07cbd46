"""Keep when the last sweep began: a sign of life of beat and the sweeper."""

from alembic import op

revision = "383"
down_revision = "382"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE heartbeats (
            name text CONSTRAINT pk_heartbeats PRIMARY KEY,
            beaten_at timestamptz NOT NULL
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE heartbeats")
