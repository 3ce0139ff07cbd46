"""Drop the index of open wrong notes: no statement uses this index."""

from alembic import op

revision = "395"
down_revision = "394"


def upgrade() -> None:
    op.execute("DROP INDEX ix_study_question_progress_open_note")


def downgrade() -> None:
    op.execute("""
        CREATE INDEX ix_study_question_progress_open_note
        ON study_question_progress (user_id) WHERE wrong_note = 'open'
    """)
