"""Add the attempts."""

from alembic import op

from migrations import in_catalog

revision = "371"
down_revision = "370"


def upgrade() -> None:
    question = in_catalog("""
        CONSTRAINT fk_study_question_attempts_study_question_id
        REFERENCES study_questions (id) ON DELETE CASCADE
    """)
    op.execute(f"""
        CREATE TABLE study_question_attempts (
            user_id bigint NOT NULL,
            study_quiz_session_id bigint NOT NULL,
            ordinal integer NOT NULL,
            study_question_id bigint NOT NULL {question},
            pub_id text NOT NULL,
            selected smallint,
            unsure boolean NOT NULL,
            outcome text NOT NULL
                CONSTRAINT ck_study_question_attempts_outcome
                CHECK (outcome IN ('correct', 'wrong', 'unsure')),
            rating smallint NOT NULL
                CONSTRAINT ck_study_question_attempts_rating
                CHECK (rating IN (1, 2, 3)),
            counted boolean NOT NULL,
            answered_at timestamptz NOT NULL,
            answered_at_raw timestamptz NOT NULL,
            utc_offset smallint,
            study_date date NOT NULL,
            clock_adjusted boolean NOT NULL,
            CONSTRAINT pk_study_question_attempts PRIMARY KEY (user_id, study_quiz_session_id, ordinal),
            CONSTRAINT fk_study_question_attempts_user_id_study_quiz_session_id
                FOREIGN KEY (user_id, study_quiz_session_id)
                REFERENCES study_quiz_sessions (user_id, id) ON DELETE CASCADE
        )
    """)
    op.execute("ALTER TABLE study_question_attempts ALTER user_id SET STATISTICS 1")
    op.execute("""
        CREATE UNIQUE INDEX uq_study_question_attempts_counted
        ON study_question_attempts (user_id, study_quiz_session_id, study_question_id) WHERE counted
    """)
    op.execute("""
        CREATE INDEX ix_study_question_attempts_fold
        ON study_question_attempts (study_question_id, user_id, answered_at)
    """)


def downgrade() -> None:
    op.execute("DROP TABLE study_question_attempts")
