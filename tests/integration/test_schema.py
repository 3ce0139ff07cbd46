"""Whose schema it is: nothing of another application is touched, and all of ours is in DATABASE_SCHEMA."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import NullPool, create_engine, text

import migrations
from cli.main import main
from shared.config import StoreSettings
from shared.db import make_engine
from tests import factories
from tests.factories import answer, ingest, upload

CATALOG = ("users", "study_topics", "study_questions", "published_items")
VERSION = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"
AT = "2026-11-20T09:00:00Z"

# Whatever stands in the database, by schema.
RELATIONS = text("""
    SELECT nspname, relname, relkind, attname, format_type(atttypid, atttypmod)
    FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    LEFT JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY 1, 2, 4
""")


def relations(url: str) -> list[tuple[str, ...]]:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return [tuple(row) for row in connection.execute(RELATIONS)]


def execute(url: str, *statements: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.fixture
def migrate(empty_database_url: str) -> Callable[..., Result]:
    known = {"DATABASE_URL": empty_database_url, "MIGRATE_DATABASE_URL": "", "DATABASE_SCHEMA": ""}
    return lambda **environment: CliRunner().invoke(main, ["migrate"], env=known | environment)


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["CREATE TABLE users (id uuid PRIMARY KEY)"], "users"),
        (["CREATE VIEW uploads AS SELECT 1"], "uploads"),
        ([VERSION, "INSERT INTO alembic_version VALUES ('4f0c9a')"], "alembic_version"),
        # The very revision that ours have.
        (
            [VERSION, "INSERT INTO alembic_version VALUES ('372')", "CREATE TABLE users (id int)"],
            "alembic_version, users",
        ),
        ([f"CREATE VIEW {name} AS SELECT 1" for name in ("users", "published_items")], "study_questions"),
    ],
    ids=["table", "view", "version", "same version", "half of the views"],
)
def test_migrate_refuses_a_schema_of_others_before_it_touches_anything(
    empty_database_url: str, migrate: Callable[..., Result], statements: list[str], named: str
) -> None:
    execute(empty_database_url, *statements)
    before = relations(empty_database_url)
    for _ in range(2):
        refused = migrate()
        assert refused.exit_code == 1
        assert refused.output.startswith("Error: DATABASE_SCHEMA: the schema public has ")
        assert named in refused.output
        assert "study-ingest adopt" in refused.output
    with pytest.raises(migrations.MigrationError, match="DATABASE_SCHEMA"):
        migrations.upgrade(empty_database_url)
    assert relations(empty_database_url) == before


def test_tables_of_other_names_are_no_reason_to_refuse(
    empty_database_url: str, migrate: Callable[..., Result]
) -> None:
    execute(empty_database_url, "CREATE TABLE spatial_ref_sys (srid int)")
    assert migrate().exit_code == 0


def test_a_database_from_before_the_mark_is_ours(database_url: str) -> None:
    execute(database_url, "COMMENT ON TABLE alembic_version IS NULL")
    assert migrations.pending(database_url) == []
    migrations.upgrade(database_url)


def test_everything_of_ours_is_in_the_schema(empty_database_url: str, migrate: Callable[..., Result]) -> None:
    execute(empty_database_url, "CREATE TABLE users (id uuid PRIMARY KEY)")
    before = relations(empty_database_url)
    assert migrate(DATABASE_SCHEMA="learning").exit_code == 0
    assert migrate(DATABASE_SCHEMA="learning").output == "the database is at the newest revision\n"
    engine = make_engine(StoreSettings(database_url=empty_database_url, database_schema="learning"))
    factories.load(engine)
    assert ingest(engine, upload(answer("q110", AT))).status == "ingested"
    engine.dispose()
    ours = [row for row in relations(empty_database_url) if row not in before]
    assert {row[0] for row in ours} == {"learning"}
    assert {"alembic_version", "uploads", "users", "current_editions"} <= {row[1] for row in ours}
    execute(empty_database_url, "DROP SCHEMA learning CASCADE")
    assert relations(empty_database_url) == before


@pytest.mark.parametrize("name", ["Study", "a b", 'a"b', "pg_study", "1st", "é"])
def test_a_name_that_is_no_schemas_is_refused(migrate: Callable[..., Result], name: str) -> None:
    refused = migrate(DATABASE_SCHEMA=name)
    assert (refused.exit_code, "DATABASE_SCHEMA: must be a schema's name" in refused.output) == (1, True)
