"""Add the follow-ups of a finalized session."""

from alembic import op

revision = "372"
down_revision = "371"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE study_followups (
            id uuid DEFAULT gen_random_uuid() CONSTRAINT pk_study_followups PRIMARY KEY,
            study_quiz_session_id bigint NOT NULL
                CONSTRAINT fk_study_followups_study_quiz_session_id
                REFERENCES study_quiz_sessions (id) ON DELETE CASCADE,
            kind text NOT NULL
                CONSTRAINT ck_study_followups_kind CHECK (kind IN ('explain_misses', 'weak_areas')),
            status text NOT NULL DEFAULT 'waiting'
                CONSTRAINT ck_study_followups_status
                CHECK (status IN ('waiting', 'delivered', 'skipped', 'dead')),
            tries integer NOT NULL DEFAULT 0,
            next_try_at timestamptz NOT NULL DEFAULT now(),
            last_error text,
            created_at timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz,
            CONSTRAINT ck_study_followups_finished_at CHECK ((status = 'waiting') = (finished_at IS NULL)),
            CONSTRAINT uq_study_followups_study_quiz_session_id_kind UNIQUE (study_quiz_session_id, kind)
        )
    """)
    op.execute("""
        CREATE INDEX ix_study_followups_waiting
        ON study_followups (next_try_at) WHERE status = 'waiting'
    """)


def downgrade() -> None:
    op.execute("DROP TABLE study_followups")
