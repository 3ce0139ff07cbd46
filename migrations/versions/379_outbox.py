"""Add the outbox: one row for each webhook."""

from alembic import op

revision = "379"
down_revision = "378"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE outbox (
            id uuid DEFAULT gen_random_uuid() CONSTRAINT pk_outbox PRIMARY KEY,
            user_id bigint,
            kind text NOT NULL
                CONSTRAINT ck_outbox_kind CHECK (kind IN ('explain_misses', 'weak_areas', 'upload.dead')),
            study_quiz_session_id bigint,
            client_session_uuid uuid,
            status text NOT NULL DEFAULT 'waiting'
                CONSTRAINT ck_outbox_status CHECK (status IN ('waiting', 'delivered', 'skipped', 'dead')),
            tries integer NOT NULL DEFAULT 0,
            next_try_at timestamptz NOT NULL DEFAULT now(),
            last_error text,
            created_at timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz,
            CONSTRAINT ck_outbox_subject CHECK (CASE
                WHEN kind = 'upload.dead'
                THEN client_session_uuid IS NOT NULL AND study_quiz_session_id IS NULL
                ELSE user_id IS NOT NULL AND study_quiz_session_id IS NOT NULL END),
            CONSTRAINT ck_outbox_finished_at CHECK ((status = 'waiting') = (finished_at IS NULL)),
            CONSTRAINT uq_outbox_user_id_study_quiz_session_id_kind
                UNIQUE (user_id, study_quiz_session_id, kind),
            CONSTRAINT fk_outbox_user_id_study_quiz_session_id
                FOREIGN KEY (user_id, study_quiz_session_id)
                REFERENCES study_quiz_sessions (user_id, id) ON DELETE CASCADE
        )
    """)
    op.execute("CREATE INDEX ix_outbox_waiting ON outbox (next_try_at) WHERE status = 'waiting'")


def downgrade() -> None:
    op.execute("DROP TABLE outbox")
