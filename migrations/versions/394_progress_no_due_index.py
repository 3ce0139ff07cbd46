"""Drop the index of due dates: every replay changes it, and a list of what is due is as fast without it."""

from alembic import op

revision = "394"
down_revision = "393"


def upgrade() -> None:
    op.execute("DROP INDEX ix_study_question_progress_user_id_due")


def downgrade() -> None:
    op.execute(
        "CREATE INDEX ix_study_question_progress_user_id_due ON study_question_progress (user_id, due)"
    )
