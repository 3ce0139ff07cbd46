"""Run the migrations: one deploy at a time, each revision in a transaction, with short locks."""

from alembic import context
from alembic.util import CommandError

from migrations import LOCKING, connected, create_schema, deploy_lock, require_ours
from shared.db import encoding, is_pooled
from shared.errors import MigrationError


def run(database_url: str) -> None:
    """Run Alembic's current command on this database."""
    with connected(database_url) as engine, engine.connect() as connection:
        if is_pooled(connection):  # one session would get the deploy's lock, and another would release it
            raise MigrationError("a pooler answers; set MIGRATE_DATABASE_URL to the URL of Postgres itself")
        if (found := encoding(connection)) != "UTF8":
            raise MigrationError(
                f"the database's encoding is {found}; create the database with ENCODING 'UTF8'"
            )
        with deploy_lock(engine):
            create_schema(connection)
            require_ours(connection)
            connection.exec_driver_sql(LOCKING)
            connection.commit()
            context.configure(connection=connection, transaction_per_migration=True)
            with context.begin_transaction():
                context.run_migrations()


if "database_url" not in context.config.attributes or context.is_offline_mode():
    raise CommandError("use migrations.upgrade(database_url); the alembic command only begins new revisions")
run(context.config.attributes["database_url"])
