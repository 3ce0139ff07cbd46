"""`adopt`: print views by which we read the tables of a document server; check existing views.

The views have the names and the columns of our catalog's tables, and stand in DATABASE_SCHEMA with our own
tables. The SQL is partly a guess: the owner of the document server's tables reads, corrects and runs it.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import click
from sqlalchemy import Connection, make_url, text

from cli import context
from cli.local.places import data_dir_option
from migrations import require_free_name
from shared import data_settings, db
from shared.config import StoreSettings, load_settings
from shared.editions import CAN_GRADE, CURRENT_EDITIONS, NAMES_ONE
from shared.errors import ConfigurationError
from shared.payload import MAX_PUB_ID, MAX_SUBJECT, SPACES


class Column(NamedTuple):
    """A view's column: its allowed types, likely names in a document server, and SQL for a missing column."""

    types: tuple[str, ...]
    names: tuple[str, ...]
    lacking: str = ""


class View(NamedTuple):
    """A view: likely names of its table, its columns, and columns by which rows are looked up, the key first.

    `parent`: the parent's view, and the column of this view that holds the parent's id. A column that the
    table lacks is taken from the parent's table, unless rows are looked up by this column. A column without
    likely names is always taken from the parent's view.
    """

    tables: tuple[str, ...]
    columns: Mapping[str, Column]
    looked_up: tuple[str, ...]
    parent: tuple[str, str] = ("", "")


# An id keeps its type: if it were cast, no index on it could be used.
INTEGER = ("bigint", "integer", "smallint")
TEXT, TIME, DATE, JSON = ("text",), ("timestamp with time zone",), ("date",), ("jsonb",)
VIEWS = {
    "users": View(
        ("users", "learners", "accounts", "user", "auth_user"),
        {
            "id": Column(INTEGER, ("id", "user_id")),
            "time_zone": Column(TEXT, ("time_zone", "timezone", "tz"), "NULL"),
        },
        ("id",),
    ),
    "study_topics": View(
        ("study_topics", "topics", "courses", "decks"),
        {
            "id": Column(INTEGER, ("id", "topic_id")),
            "user_id": Column(INTEGER, ("user_id", "owner_id", "learner_id", "account_id")),
            "name": Column(TEXT, ("name", "title")),
            "exam_on": Column(DATE, ("exam_on", "exam_date", "exam_at"), "NULL"),
        },
        ("id", "user_id"),
    ),
    "study_questions": View(
        ("study_questions", "questions", "items", "cards"),
        {
            "id": Column(INTEGER, ("id", "question_id")),
            # From the topic: such a column in the questions' table may name an author or a tenant.
            "user_id": Column(INTEGER, ()),
            "study_topic_id": Column(INTEGER, ("study_topic_id", "topic_id", "course_id", "deck_id")),
            "subject": Column(TEXT, ("subject", "category", "chapter"), "''"),
            "exam_frequency": Column(("double precision",), ("exam_frequency", "frequency"), "NULL"),
            "retired_at": Column(TIME, ("retired_at", "deleted_at", "archived_at"), "NULL"),
        },
        ("id", "study_topic_id"),
        ("study_topics", "study_topic_id"),
    ),
    "published_items": View(
        ("published_items", "editions", "published_questions", "study_questions", "questions", "items"),
        {
            "pub_id": Column(TEXT, ("pub_id", "public_id", "slug")),
            "source_id": Column(INTEGER, ("source_id", "study_question_id", "question_id", "item_id", "id")),
            "choices": Column(JSON, ("choices", "options", "answers")),
            "correct_choice": Column(INTEGER, ("correct_choice", "correct_index", "correct", "answer")),
            "published_at": Column(TIME, ("published_at",), "NULL"),
        },
        ("pub_id", "source_id"),
        ("study_questions", "source_id"),
    ),
}

# Columns that name a learner in a table of the document server.
LEARNERS = {("users", "id"), ("study_topics", "user_id")}

_COLUMNS = text("""
    SELECT table_name, column_name, data_type, is_nullable = 'YES' FROM information_schema.columns
    WHERE table_schema = :schema ORDER BY table_name, ordinal_position
""")
# The type with its length: `character` alone is one character long.
_TYPE = text("""
    SELECT format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attname = :column
""")

HEAD = """\
-- Views by which study-ingest reads the tables in {host}. They stand in the schema of study-ingest's tables.
-- Read this file, correct it, and run it as the owner of the tables in {host}:
--     psql "$DATABASE_URL" -v ON_ERROR_STOP=1 --single-transaction -f THIS_FILE
-- While a view reads a column, Postgres refuses to drop that column or to change its type. Drop the view
-- first, as by `DROP VIEW {schema}.study_questions CASCADE`, and run this file again afterwards, with the
-- grants at its end.
-- Nothing writes through the views. `DROP SCHEMA {schema} CASCADE` removes everything.
CREATE SCHEMA IF NOT EXISTS {schema};
SET search_path = {schema}, {host};  -- the second schema has the operators of types such as citext
"""

MAPPING = """
-- The ids in {users} are {type}; learners have numbers here. This table gives each user a number: a trigger
-- adds the row when a user is inserted, keeps the number when the user's id is changed, and deletes the row
-- when the user is deleted.
CREATE TABLE IF NOT EXISTS learner_ids (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host_id {type} NOT NULL UNIQUE
);
CREATE OR REPLACE FUNCTION keep_learner_ids() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO learner_ids (host_id) VALUES (NEW.{id}) ON CONFLICT DO NOTHING;
    ELSIF TG_OP = 'UPDATE' THEN
        UPDATE learner_ids SET host_id = NEW.{id} WHERE host_id = OLD.{id};
    ELSE
        DELETE FROM learner_ids WHERE host_id = OLD.{id};
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER keep_learner_ids AFTER INSERT OR UPDATE OF {id} OR DELETE ON {users}
FOR EACH ROW EXECUTE FUNCTION keep_learner_ids();
INSERT INTO learner_ids (host_id) SELECT {id} FROM {users} ON CONFLICT DO NOTHING;
"""

# In the tables of a document server, several editions may have the same pub_id.
EDITIONS_ASKED = f"""
{CURRENT_EDITIONS.strip().replace("CREATE VIEW", "CREATE OR REPLACE VIEW")}
    WHERE {NAMES_ONE.format("newest")};
"""
# By this comment on the view, `faults` tells this release's view from the view of another release.
VERSION = f"study-ingest {hashlib.sha256(EDITIONS_ASKED.encode()).hexdigest()[:16]}"

TAIL = """
-- If the processes have a role of their own (docs/security.md), let this role only read the catalog's views.
-- Run these lines each time you have run this file: a view that is made again has the rights of a new table.
-- GRANT USAGE ON SCHEMA {schema} TO study_ingest;
-- GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO study_ingest;
-- ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO study_ingest;
-- REVOKE ALL ON {views} FROM study_ingest;
-- GRANT SELECT ON {views} TO study_ingest;
"""


@click.command()
@click.option(
    "--catalog",
    type=click.Choice(["views"]),
    default="views",
    help="How the catalog is read: by views on the document server's tables.",
)
@click.option(
    "--host-schema", default="public", show_default=True, help="Schema of the document server's tables."
)
@data_dir_option
def adopt(data_dir: Path, *, catalog: str, host_schema: str) -> None:  # noqa: ARG001  # the only way so far
    """Print SQL that lets study-ingest read a document server's tables, as far as it can be guessed.

    Nothing is changed: the owner of the tables runs the SQL. Then run `migrate` and `doctor`.
    """
    context.complete_environment(data_dir)
    settings = load_settings(StoreSettings)
    if settings.database_schema in {"", host_schema}:
        raise ConfigurationError(
            "DATABASE_SCHEMA: name a schema that only study-ingest uses, such as `study_ingest`;"
            f" {host_schema} has the document server's tables"
        )
    engine = db.make_engine(settings)
    try:
        with context.readable_errors(), engine.connect() as connection:
            require_free_name(connection, settings.database_schema)
            zone = settings.study_time_zone
            if db.scalar(connection, text("SELECT to_regclass('data_settings')")):
                zone = data_settings.compare(connection, settings)
            click.echo(print_views(connection, settings.database_schema, host_schema, zone))
    finally:
        engine.dispose()


_quote = make_url("postgresql+psycopg://").get_dialect()().identifier_preparer.quote


class _Host(NamedTuple):
    """A document server's tables, with the type of each column; `nullable`: columns that may be NULL.

    `tests_json`: whether Postgres can test a text before a cast to jsonb (from version 16 on). `zone`:
    the time zone in which a time becomes a date.
    """

    schema: str
    tables: Mapping[str, Mapping[str, str]]
    nullable: Collection[tuple[str, str]]
    tests_json: bool
    zone: str

    def table(self, view: str) -> str:
        """Return the table that a view reads; the view's own name if no table has a likely name."""
        return next((name for name in VIEWS[view].tables if name in self.tables), view)

    def column(self, view: str, column: str) -> str:
        """Return the server's column that a view's column shows, or "" if no column has a likely name."""
        known = self.tables.get(self.table(view), {})
        return next((name for name in VIEWS[view].columns[column].names if name in known), "")

    def kind(self, view: str, column: str) -> str:
        """Return the type of the column that a view's column shows."""
        return self.tables.get(self.table(view), {}).get(self.column(view, column), "")

    def source(self, view: str) -> str:
        """Return the table that a view reads, as SQL names it."""
        return f"{self.schema}.{_quote(self.table(view))}"


def print_views(connection: Connection, schema: str, host_schema: str, zone: str) -> str:
    """Return the SQL that makes the views, filled in as far as the names of the host's columns allow.

    `/* FILL IN: … */` marks what the owner has to add.
    """
    tables: dict[str, dict[str, str]] = {}
    nullable = set()
    for table, column, kind, is_nullable in db.execute(connection, _COLUMNS, {"schema": host_schema}):
        tables.setdefault(table, {})[column] = kind
        if is_nullable:
            nullable.add((table, column))
    version = connection.dialect.server_version_info or (0,)
    host = _Host(_quote(host_schema), tables, nullable, tests_json=version >= (16,), zone=zone)
    parts = [HEAD.format(schema=_quote(schema), host=host.schema)]
    if host.kind("users", "id") not in {"", *INTEGER}:
        users, id_ = host.source("users"), host.column("users", "id")
        kind = db.scalar(connection, _TYPE, {"table": users, "column": id_})
        parts.append(MAPPING.format(schema=_quote(schema), type=kind, users=users, id=_quote(id_)))
    parts += [_view(name, host) for name in VIEWS]
    parts.append(EDITIONS_ASKED + f"COMMENT ON VIEW current_editions IS '{VERSION}';")
    views = ", ".join(f"{_quote(schema)}.{name}" for name in (*VIEWS, "current_editions"))
    return "\n".join([*parts, TAIL.format(schema=_quote(schema), views=views)])


def _view(name: str, host: _Host) -> str:
    joins: dict[str, None] = {}
    shown = {column: _expression(name, column, host, joins) for column in VIEWS[name].columns}
    lines = [f"    {expression} AS {column}" for column, expression in shown.items()]
    note = "-- `correct_choice` counts from 0.\n" if "correct_choice" in VIEWS[name].columns else ""
    source = [f"FROM {host.source(name)} AS host", *joins]
    needed = [
        host.column(name, column) for column, wanted in VIEWS[name].columns.items() if not wanted.lacking
    ]
    # Rows without a value that we need, such as drafts, are left out.
    if nullable := [column for column in needed if (host.table(name), column) in host.nullable]:
        source.append("WHERE " + " AND ".join(f"host.{_quote(column)} IS NOT NULL" for column in nullable))
    select = f"CREATE OR REPLACE VIEW {name} AS\nSELECT\n" + ",\n".join(lines)
    # An index on a column does not serve a cast of this column, except a cast from varchar to text.
    indexes = [
        "\n-- Rows are looked up by a cast. It needs an index of its own on the table, such as:\n"
        f"-- CREATE INDEX ON {host.source(name)} (({shown[column].replace('host.', '', 1)}));"
        for column in VIEWS[name].looked_up
        if shown[column].startswith("CAST(host.") and host.kind(name, column) != "character varying"
    ]
    return f"\n{note}{select}\n" + "\n".join(source) + ";" + "".join(indexes)


def _expression(name: str, column: str, host: _Host, joins: dict[str, None]) -> str:
    """Return the SQL of a view's column; add to `joins` the joins that this SQL needs."""
    view, wanted = VIEWS[name], VIEWS[name].columns[column]
    found, kind, alias = host.column(name, column), host.kind(name, column), "host"
    parent, key = view.parent
    if not found and parent and column not in view.looked_up and (by := host.column(name, key)):
        if not wanted.names:
            joins[f"JOIN {parent} AS shown ON shown.id = host.{_quote(by)}"] = None
            return f"shown.{column}"
        names = [each for each in wanted.names if each in host.tables.get(host.table(parent), {})]
        if names and host.table(parent) != host.table(name):
            found, alias = names[0], "parent"
            kind = host.tables[host.table(parent)][found]
            id_ = _quote(host.column(parent, "id"))
            joins[f"JOIN {host.source(parent)} AS parent ON parent.{id_} = host.{_quote(by)}"] = None
    shown = f"{alias}.{_quote(found)}"
    if kind and kind not in INTEGER and kind == host.kind("users", "id") and (name, column) in LEARNERS:
        joins[f"JOIN learner_ids AS learner ON learner.host_id = {shown}"] = None
        return "learner.id"
    if not found:
        shown = wanted.lacking and f"CAST({wanted.lacking} AS {wanted.types[0]})"
    elif kind not in wanted.types:
        shown = _cast(shown, kind, wanted.types, host)
    if found and wanted.lacking not in {"", "NULL"}:
        shown = f"coalesce({shown}, {wanted.lacking})"
    return shown or f"/* FILL IN: {wanted.types[0]} */"


def _cast(shown: str, kind: str, types: tuple[str, ...], host: _Host) -> str:
    """Return SQL that casts to the first of the types; an empty text if no cast is likely to be right."""
    if types is INTEGER and kind != "numeric":
        return ""
    if types is TIME and kind == "timestamp without time zone":
        return f"{shown} AT TIME ZONE 'UTC'"
    if types is DATE and kind == "timestamp with time zone":
        return f"CAST({shown} AT TIME ZONE '{host.zone}' /* STUDY_TIME_ZONE */ AS date)"
    if kind == "ARRAY":
        return f"to_jsonb(CAST({shown} AS text[]))"
    cast = f"CAST({shown} AS {types[0]})"
    if types is JSON and host.tests_json:  # a failed cast would end all statements that read the row
        return f"CASE WHEN pg_input_is_valid(CAST({shown} AS text), 'jsonb') THEN {cast} END"
    return cast


_SHOWN = text("""
    SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = to_regclass(:view) AND attnum > 0
""")
_READABLE = text("SELECT has_table_privilege(to_regclass(:view), 'SELECT')")
# The owner of a view, a member of the owner's role and a superuser have every right, whatever is granted.
_WRITABLE = text("""
    SELECT NOT pg_has_role(relowner, 'USAGE') AND has_table_privilege(oid, 'INSERT, UPDATE, DELETE')
    FROM pg_class WHERE oid = to_regclass(:view)
""")
_COMMENT = text("SELECT obj_description(to_regclass('current_editions'), 'pg_class')")
# Rows that our processes cannot use: the view, the column that names the row, the condition, what is wrong,
# and the fix.
_WRONG_ROWS = (
    *(
        (view, "id", "id < 0", "id is negative in", "let the view show no negative ids: lists leave them out")
        for view in ("users", "study_topics", "study_questions")
    ),
    *(
        (
            view,
            "id",
            "NOT EXISTS (SELECT FROM users WHERE users.id = i.user_id)",
            "user_id names no row of the view users, in the rows",
            "let the view leave these rows out, or correct the user id in the table",
        )
        for view in ("study_topics", "study_questions")
    ),
    (
        "study_questions",
        "id",
        "NOT EXISTS (SELECT FROM study_topics t WHERE t.id = i.study_topic_id AND t.user_id = i.user_id)",
        "study_topic_id names no topic with the same user_id, in the rows",
        "let the view show the user_id of the question's topic, and leave out questions without a topic",
    ),
    (
        "published_items",
        "pub_id",
        f"({CAN_GRADE}) IS NOT TRUE",
        "correct_choice names no choice of",
        "let the view show choices as a JSON array, and the index of the right one, counted from 0",
    ),
    (
        "published_items",
        "pub_id",
        "jsonb_path_exists(choices, '$[*] ? (@.type() <> \"string\")')",
        "choices are not all texts in",
        "let the view show each choice as a text: otherwise live sessions show it as JSON",
    ),
    (
        "published_items",
        "pub_id",
        "pub_id IS NOT NFC NORMALIZED OR pub_id <> btrim(pub_id, :spaces) OR pub_id !~ '\\S'",
        "pub_id is not in normal form:",
        "store pub_id in Unicode's NFC and without spaces around it: otherwise no answer finds it",
    ),
    (
        "published_items",
        "pub_id",
        f"length(pub_id) > {MAX_PUB_ID}",
        f"pub_id has more than {MAX_PUB_ID} characters:",
        "shorten pub_id, or let the view leave these rows out: no answer can name them",
    ),
    (
        "published_items",
        "pub_id",
        "NOT published_at BETWEEN '0001-01-01Z' AND '9999-12-31T23:59:59Z'",
        "published_at is outside of the years 1 to 9999 in",
        "let the view show NULL for earlier times, and leave out rows with later ones: Python has neither",
    ),
    (
        "study_questions",
        "id",
        f"length(subject) > {MAX_SUBJECT}",
        f"subject has more than {MAX_SUBJECT} characters in",
        "shorten subject: no session can be limited to this subject",
    ),
    (
        "study_questions",
        "id",
        "NOT exam_frequency BETWEEN 0 AND 1e9",
        "exam_frequency is not from 0 to 1e9 in",
        "let the view show another number, or NULL",
    ),
)


def faults(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield the faults of the catalog's views, each with its fix.

    Rows are checked only if every view can be read and shows the right columns.
    """
    found = False
    for name, view in VIEWS.items():
        shown = dict(db.execute(connection, _SHOWN, {"view": name}).fetchall())
        for column, wanted in view.columns.items():
            if shown.get(column) not in wanted.types:
                found = True
                is_now = f"is {shown[column]}" if column in shown else "is missing"
                yield f"{name}.{column} {is_now}", f"let the view show this column as {wanted.types[0]}"
        if not db.scalar(connection, _READABLE, {"view": name}):
            found = True
            yield f"{name} cannot be read", "let the view's owner grant SELECT to the role in DATABASE_URL"
        if db.scalar(connection, _WRITABLE, {"view": name}):
            fix = "run the grants at the end of views.sql again: through the view, the table could be changed"
            yield f"{name} can be written by the role in DATABASE_URL", fix
    if db.scalar(connection, _COMMENT) != VERSION:
        fix = "of the SQL of `study-ingest adopt`, run SET search_path, and the view and its comment again"
        yield "current_editions is not the view of this release", fix
    if not found:
        yield from _faults_of_rows(connection)


def _faults_of_rows(connection: Connection) -> Iterator[tuple[str, str]]:
    for name, view in VIEWS.items():
        for column in (column for column, wanted in view.columns.items() if wanted.lacking != "NULL"):
            query = f"SELECT EXISTS (SELECT FROM {name} WHERE {column} IS NULL)"  # noqa: S608  # of ours
            if db.scalar(connection, text(query)):
                yield f"{name}.{column} is NULL in some rows", "let the view leave these rows out"
        for column in view.looked_up:
            query = f"EXPLAIN (FORMAT JSON) SELECT * FROM {name} WHERE {column} = '0'"  # noqa: S608  # of ours
            if "Seq Scan" in str(db.scalar(connection, text(query))):
                fix = (
                    "create an index on this column of the table; if the view casts the column, create it on"
                    " the cast, as by CREATE INDEX ON items ((CAST(public_id AS text)))"
                )
                yield f"{name} is read as a whole to find a {column}", fix
        key = view.looked_up[0]
        query = f"SELECT {key} FROM {name} GROUP BY {key} HAVING count({key}) > 1 LIMIT 3"  # noqa: S608  # of ours
        if several := db.scalars(connection, text(query)):
            otherwise = (
                "these questions are not asked, and attempts at them are skipped as unknown_question"
                if name in {"study_questions", "published_items"}
                else "any of the rows may be used, or all of them"
            )
            fix = f"let the view show one row for each {key}: otherwise {otherwise}"
            yield f"{name} has several rows with the {key} {', '.join(map(str, several))}", fix
    for name, key, condition, detail, fix in _WRONG_ROWS:
        query = f"SELECT {key} FROM {name} i WHERE {condition} LIMIT 3"  # noqa: S608  # of ours
        if wrong := db.scalars(connection, text(query), {"spaces": SPACES} if ":spaces" in query else {}):
            yield f"{name}.{detail} {', '.join(map(repr, wrong))}", fix
