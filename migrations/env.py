"""Run the migrations: one deploy at a time, each revision in a transaction, never long in anybody's way."""

from alembic import context
from alembic.util import CommandError
from sqlalchemy import NullPool, create_engine

from migrations.locks import LOCKING, deploy_lock


def run(database_url: str) -> None:
    """Run what Alembic was asked for on this database."""
    engine = create_engine(database_url, poolclass=NullPool)
    with deploy_lock(engine), engine.connect() as connection:
        connection.exec_driver_sql(LOCKING)
        connection.commit()
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


if "database_url" not in context.config.attributes or context.is_offline_mode():
    raise CommandError("use migrations.upgrade(database_url); the alembic command only begins new revisions")
run(context.config.attributes["database_url"])
