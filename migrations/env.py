"""Run the migrations: one deploy at a time, each revision in a transaction, never long in anybody's way."""

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection

from migrations import MigrationError, connected
from migrations.locks import LOCKING, deploy_lock
from shared.db import encoding, is_pooled


def run(database_url: str) -> None:
    """Run what Alembic was asked for on this database."""
    with connected(database_url) as engine, engine.connect() as connection:
        _check(connection)
        with deploy_lock(engine):
            connection.exec_driver_sql(LOCKING)
            connection.commit()
            context.configure(connection=connection, transaction_per_migration=True)
            with context.begin_transaction():
                context.run_migrations()


def _check(connection: Connection) -> None:
    if is_pooled(connection):  # it would hold the lock of a deploy in one session, and release it in another
        raise MigrationError("a pooler answers; set MIGRATE_DATABASE_URL to the URL of Postgres itself")
    if (found := encoding(connection)) != "UTF8":
        raise MigrationError(f"the database's encoding is {found}; create it with ENCODING 'UTF8'")


if "database_url" not in context.config.attributes or context.is_offline_mode():
    raise CommandError("use migrations.upgrade(database_url); the alembic command only begins new revisions")
run(context.config.attributes["database_url"])
