"""Add an index that finds the learners whose progress changed since a transaction."""

from alembic import op

revision = "385"
down_revision = "384"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_learner_changes_changed_xid ON learner_changes (changed_xid)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_learner_changes_changed_xid")
