"""Record the last transaction that saved the progress of a question."""

from alembic import op

revision = "386"
down_revision = "385"


def upgrade() -> None:
    op.execute("ALTER TABLE study_question_progress ADD COLUMN changed_xid xid8")


def downgrade() -> None:
    op.execute("ALTER TABLE study_question_progress DROP COLUMN changed_xid")
