"""Add the uploads."""

from alembic import op

revision = "377"
down_revision = "376"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE uploads (
            client_session_uuid uuid CONSTRAINT pk_uploads PRIMARY KEY,
            payload jsonb,
            content_hash text NOT NULL,
            received_at timestamptz NOT NULL,
            clock_shift interval,
            status text NOT NULL DEFAULT 'received'
                CONSTRAINT ck_uploads_status CHECK (status IN ('received', 'ingested', 'rejected', 'dead')),
            tries integer NOT NULL DEFAULT 1,
            next_try_at timestamptz NOT NULL,
            last_error text,
            reason text,
            result jsonb,
            user_id bigint,
            finalized_at timestamptz,
            CONSTRAINT ck_uploads_finalized_at CHECK ((status = 'received') = (finalized_at IS NULL)),
            CONSTRAINT ck_uploads_reason CHECK ((status = 'rejected') = (reason IS NOT NULL)),
            CONSTRAINT ck_uploads_payload CHECK (status <> 'received' OR payload IS NOT NULL)
        )
    """)
    op.execute("CREATE INDEX ix_uploads_received ON uploads (next_try_at) WHERE status = 'received'")
    op.execute("""
        CREATE INDEX ix_uploads_failed
        ON uploads (status, received_at) WHERE status IN ('rejected', 'dead')
    """)
    op.execute("CREATE INDEX ix_uploads_user_id ON uploads (user_id) WHERE user_id IS NOT NULL")
    op.execute("""
        CREATE INDEX ix_uploads_times ON uploads USING brin (received_at, finalized_at)
        WITH (autosummarize = true)
    """)


def downgrade() -> None:
    op.execute("DROP TABLE uploads")
