"""Add an index that finds a learner's progress by a column that never changes."""

from alembic import op

revision = "393"
down_revision = "392"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_study_question_progress_user_id ON study_question_progress (user_id)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_study_question_progress_user_id")
