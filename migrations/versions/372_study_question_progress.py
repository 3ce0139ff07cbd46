"""Add the progress of a learner at a question."""

from alembic import op

from migrations import in_catalog

revision = "372"
down_revision = "371"


def upgrade() -> None:
    question = in_catalog("""
        CONSTRAINT fk_study_question_progress_study_question_id
        REFERENCES study_questions (id) ON DELETE CASCADE
    """)
    user = in_catalog("""
        CONSTRAINT fk_study_question_progress_user_id REFERENCES users (id) ON DELETE CASCADE
    """)
    op.execute(f"""
        CREATE TABLE study_question_progress (
            study_question_id bigint NOT NULL {question},
            user_id bigint NOT NULL {user},
            stability double precision NOT NULL,
            difficulty double precision NOT NULL,
            due date NOT NULL,
            due_at_most date,
            last_answered_at timestamptz NOT NULL,
            last_study_date date NOT NULL,
            reviews integer NOT NULL CONSTRAINT ck_study_question_progress_reviews CHECK (reviews > 0),
            misses integer NOT NULL,
            corrects integer NOT NULL,
            miss_streak integer NOT NULL,
            correct_streak integer NOT NULL,
            correct_since date,
            wrong_note text NOT NULL
                CONSTRAINT ck_study_question_progress_wrong_note
                CHECK (wrong_note IN ('none', 'open', 'closed')),
            note_opened_at timestamptz,
            note_closed_at timestamptz,
            scheduler text NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_study_question_progress PRIMARY KEY (study_question_id, user_id),
            CONSTRAINT ck_study_question_progress_counts
                CHECK (misses >= 0 AND corrects >= 0 AND misses + corrects <= reviews),
            CONSTRAINT ck_study_question_progress_streaks
                CHECK (miss_streak BETWEEN 0 AND misses AND correct_streak BETWEEN 0 AND corrects
                    AND (miss_streak = 0 OR correct_streak = 0)),
            CONSTRAINT ck_study_question_progress_correct_since
                CHECK ((correct_streak = 0) = (correct_since IS NULL)),
            CONSTRAINT ck_study_question_progress_due_at_most CHECK (due <= due_at_most),
            CONSTRAINT ck_study_question_progress_note_opened_at
                CHECK ((wrong_note = 'none') = (note_opened_at IS NULL)),
            CONSTRAINT ck_study_question_progress_note_closed_at
                CHECK (wrong_note <> 'closed' OR note_closed_at IS NOT NULL)
        )
    """)
    op.execute("ALTER TABLE study_question_progress ALTER user_id SET STATISTICS 1")
    op.execute(
        "CREATE INDEX ix_study_question_progress_user_id_due ON study_question_progress (user_id, due)"
    )
    op.execute("""
        CREATE INDEX ix_study_question_progress_open_note
        ON study_question_progress (user_id) WHERE wrong_note = 'open'
    """)
    op.execute("""
        CREATE TRIGGER keep_updated_at BEFORE UPDATE ON study_question_progress
        FOR EACH ROW EXECUTE FUNCTION keep_updated_at()
    """)


def downgrade() -> None:
    op.execute("DROP TABLE study_question_progress")
