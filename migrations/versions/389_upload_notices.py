"""Keep what is to be told of uploads that died."""

from alembic import op

revision = "389"
down_revision = "388"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE upload_notices (
            id uuid DEFAULT gen_random_uuid() CONSTRAINT pk_upload_notices PRIMARY KEY,
            client_session_uuid uuid NOT NULL,
            upload_tries integer NOT NULL,
            status text NOT NULL DEFAULT 'waiting'
                CONSTRAINT ck_upload_notices_status
                CHECK (status IN ('waiting', 'delivered', 'skipped', 'dead')),
            tries integer NOT NULL DEFAULT 0,
            next_try_at timestamptz NOT NULL DEFAULT now(),
            last_error text,
            created_at timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz,
            CONSTRAINT ck_upload_notices_finished_at CHECK ((status = 'waiting') = (finished_at IS NULL))
        )
    """)
    op.execute("""
        CREATE INDEX ix_upload_notices_waiting
        ON upload_notices (next_try_at) WHERE status = 'waiting'
    """)


def downgrade() -> None:
    op.execute("DROP TABLE upload_notices")
