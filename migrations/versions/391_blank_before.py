"""Blank a learner's uploads before the deletion cascades: the catalog still tells whose they are."""

from alembic import op

revision = "391"
down_revision = "390"

TRIGGER = """
    CREATE OR REPLACE TRIGGER blank_uploads {when} DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION blank_uploads()
"""


def upgrade() -> None:
    op.execute(TRIGGER.format(when="BEFORE"))


def downgrade() -> None:
    op.execute(TRIGGER.format(when="AFTER"))
