"""Store in the database the settings that decide about data."""

from alembic import op

revision = "390"
down_revision = "389"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE data_settings (
            name text CONSTRAINT pk_data_settings PRIMARY KEY,
            value text NOT NULL
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE data_settings")
