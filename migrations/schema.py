"""Checks of the schema that is migrated: whether its tables are ours, and whether its catalog is views."""

from alembic import op
from sqlalchemy import Connection, text

from shared.db import catalog_is_ours, execute, scalar
from shared.errors import ConfigurationError, MigrationError
from shared.models import CATALOG, Base

# The first revision writes this mark as the comment of `alembic_version`: a document server may have a table
# of that name, with the same revision numbers. Our databases that are older than the mark are recognised by
# the table `upload_conflicts`.
MARK = "study-ingest"
_IS_OURS = text("""
    SELECT obj_description(to_regclass('alembic_version'), 'pg_class') = :mark
        OR to_regclass('upload_conflicts') IS NOT NULL
""")

_RELATIONS = text("""
    SELECT relname, relkind = 'v' AS is_view FROM pg_class
    WHERE relnamespace = to_regnamespace(current_schema()) AND relname = ANY(CAST(:names AS text[]))
    ORDER BY relname
""")


_ROLE = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :schema)")


def require_free_name(connection: Connection, schema: str) -> None:
    """Raise ConfigurationError if a role has the schema's name: that role would find our tables first."""
    if scalar(connection, _ROLE, {"schema": schema}):
        raise ConfigurationError(
            f"DATABASE_SCHEMA: {schema} is the name of a role, which would use our tables before those in"
            ' public (its search_path begins with "$user"): choose another name'
        )


def create_schema(connection: Connection) -> None:
    """Create the schema of our tables, if there is none."""
    if scalar(connection, text("SELECT current_schema()")) is None:
        path = scalar(connection, text("SELECT current_setting('search_path')"))
        require_free_name(connection, path.strip('"'))
        connection.exec_driver_sql(f"CREATE SCHEMA {path}")


def require_ours(connection: Connection) -> None:
    """Raise MigrationError if tables of another application have our tables' names, or if views are missing.

    The catalog's tables may be views, which the owner of the catalog has written: then all must be there.
    """
    if scalar(connection, _IS_OURS, {"mark": MARK}):
        return
    names = ["alembic_version", *Base.metadata.tables]
    found = dict(execute(connection, _RELATIONS, {"names": names}).fetchall())
    views = {name for name in CATALOG if found.get(name)}
    schema = scalar(connection, text("SELECT current_schema()"))
    if foreign := [name for name in found if name not in views]:
        raise MigrationError(
            f"DATABASE_SCHEMA: the schema {schema} has tables of another application"
            f" ({', '.join(foreign)}): set DATABASE_SCHEMA to a schema for our tables alone"
            " (see study-ingest adopt)"
        )
    if views and (missing := sorted(CATALOG - views)):
        raise MigrationError(
            f"DATABASE_SCHEMA: the schema {schema} has views of the catalog, but lacks {', '.join(missing)}:"
            " study-ingest adopt prints them"
        )


def in_catalog(reference: str) -> str:
    """Return a constraint on the catalog's tables; an empty text if these are views, which allow none."""
    return reference if catalog_is_ours(op.get_bind()) else ""
