"""Add an index that finds a learner's progress by a column that never changes."""

from alembic import op

from migrations import concurrently

revision = "393"
down_revision = "392"


INDEX = "ix_study_question_progress_user_id"


def upgrade() -> None:
    with concurrently():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON study_question_progress (user_id)")


def downgrade() -> None:
    op.execute(f"DROP INDEX {INDEX}")
