"""Record the last transaction that changed progress of a learner."""

from alembic import op

revision = "384"
down_revision = "383"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE learner_changes (
            user_id bigint CONSTRAINT pk_learner_changes PRIMARY KEY,
            changed_xid xid8 NOT NULL,
            whole_xid xid8 NOT NULL
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE learner_changes")
