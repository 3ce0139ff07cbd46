"""Add an index that finds the sessions in progress that ask a question."""

from alembic import op

from migrations import concurrently

revision = "400"
down_revision = "399"


INDEX = "ix_study_quiz_sessions_asking"


def upgrade() -> None:
    with concurrently():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(f"""
            CREATE INDEX CONCURRENTLY {INDEX} ON study_quiz_sessions USING gin (question_ids jsonb_path_ops)
            WITH (fastupdate = off) WHERE status = 'in_progress'
        """)


def downgrade() -> None:
    op.execute(f"DROP INDEX {INDEX}")
