"""Migrations lead to the tables that the models declare, and back again."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, NullPool, create_engine, text

import migrations
from shared.models import Base

# Everything in the schema, one line each. `alembic check` would not see an altered CHECK, trigger or view.
CATALOG = text("""
    WITH tables AS (
        SELECT oid, relname, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
    )
    SELECT concat_ws(' ', 'table', relname, reloptions) FROM tables
    UNION ALL
    SELECT concat_ws(' ', 'column', relname, attname, format_type(atttypid, atttypmod),
        'not null:', attnotnull, 'statistics:', attstattarget, 'identity:', attidentity,
        'generated:', attgenerated, 'default:', pg_get_expr(adbin, adrelid))
    FROM tables JOIN pg_attribute ON attrelid = tables.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT concat_ws(' ', 'constraint', relname, conname, pg_get_constraintdef(pg_constraint.oid))
    FROM tables JOIN pg_constraint ON conrelid = tables.oid
    UNION ALL
    SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), 'valid:', indisvalid)
    FROM tables JOIN pg_index ON indrelid = tables.oid
    UNION ALL
    SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(pg_trigger.oid), 'enabled:', tgenabled)
    FROM tables JOIN pg_trigger ON tgrelid = tables.oid WHERE NOT tgisinternal
    UNION ALL
    SELECT concat_ws(' ', 'view', viewname, definition) FROM pg_views WHERE schemaname = 'public'
    UNION ALL
    SELECT concat_ws(' ', 'function', regexp_replace(pg_get_functiondef(oid), '\\s+', ' ', 'g'))
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
""")

# One of each kind, as a careless migration would leave it.
CHANGES = [
    "ALTER TABLE users ALTER COLUMN time_zone SET NOT NULL",
    "ALTER TABLE uploads ALTER COLUMN tries SET DEFAULT 0",
    "ALTER TABLE study_quiz_sessions ALTER COLUMN subject_filter TYPE varchar(60)",
    "ALTER TABLE study_quiz_sessions ALTER COLUMN id SET GENERATED ALWAYS",
    "ALTER TABLE upload_conflicts RENAME CONSTRAINT pk_upload_conflicts TO upload_conflicts_pkey",
    "DROP INDEX ix_study_topics_user_id",
    "DROP TRIGGER keep_updated_at ON study_question_progress",
    "CREATE OR REPLACE FUNCTION keep_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "DROP VIEW current_editions",
    "ALTER TABLE study_question_progress ALTER user_id SET STATISTICS 100",
    """
    ALTER TABLE study_question_attempts DROP CONSTRAINT ck_study_question_attempts_rating,
    ADD CONSTRAINT ck_study_question_attempts_rating CHECK (rating IN (1, 2, 3, 4))
    """,
]


def catalog(connection: Connection) -> list[str]:
    return sorted(connection.scalars(CATALOG))


def catalog_of(database_url: str) -> list[str]:
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        return catalog(connection)


@pytest.fixture
def migrated(database_url: str) -> Iterator[Connection]:
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        yield connection


def test_models_and_migrations_agree(migrated: Connection, empty_database_url: str) -> None:
    Base.metadata.create_all(create_engine(empty_database_url, poolclass=NullPool))
    assert catalog(migrated) == catalog_of(empty_database_url)


@pytest.mark.parametrize("change", CHANGES)
def test_the_comparison_notices(migrated: Connection, change: str) -> None:
    before = catalog(migrated)
    migrated.exec_driver_sql(change)
    assert catalog(migrated) != before


def test_every_step_leads_back_to_where_it_began(empty_database_url: str) -> None:
    url, way_up = empty_database_url, [("base", catalog_of(empty_database_url))]
    for revision in migrations.pending(url):
        migrations.upgrade(url, revision)
        way_up.append((revision, catalog_of(url)))
    head = way_up.pop()[1]
    for revision, before in reversed(way_up):
        migrations.downgrade(url, revision)
        assert catalog_of(url) == before, revision
    migrations.upgrade(url)
    assert catalog_of(url) == head


def test_current_and_pending_name_the_revisions_of_a_database(empty_database_url: str) -> None:
    assert migrations.current(empty_database_url) is None
    migrations.upgrade(empty_database_url, "375")
    assert migrations.current(empty_database_url) == "375"
    assert migrations.pending(empty_database_url)[:2] == ["376", "377"]
    migrations.upgrade(empty_database_url)
    assert migrations.pending(empty_database_url) == []
