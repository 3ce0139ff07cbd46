"""A document server adopts us in its own database: nothing of its own changes, and everything works."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from api.app import create_app
from api.schemas import Result
from cli.adopt import EDITIONS_ASKED, faults, print_views
from shared import db
from shared.catalog_reconcile import BATCH, Difference, Differences, reconcile
from shared.config import Settings, StoreSettings
from shared.db import make_engine, scalar
from shared.failures import is_transient
from shared.live import lists
from shared.live.sessions import abandon_idle
from shared.models import StudyQuestionAttempt, StudyQuestionProgress, Upload, UploadConflict
from shared.ops.actions import set_back
from shared.ops.reports import due_calendar
from shared.study.finalize import verify
from shared.study.store import list_progress, lock_learner
from tests import factories
from tests.anki_files import BASIC, write
from tests.clients import Front
from tests.factories import WRONG, answer, deliver, ingest, rows, standing, upload, work_off
from tests.host.app import with_ingest
from tests.host.conftest import SCHEMA, Host
from tests.processes import PATIENCE_S, processes, until
from worker.sweeper import Sweeper

START = 1_772_442_000_000  # 2026-03-02 09:00 UTC, in milliseconds
AT = "2026-11-20T09:00:00Z"
LATER = "2026-11-23T09:00:00Z"
# Choices of which one row cannot be shown.
FAILING = "CASE WHEN pub_id = 'ann-0' THEN '' ELSE choices::text END::jsonb"
SLOW = "CASE WHEN pub_id = 'ann-0' THEN learning.slow() ELSE choices END::jsonb"
SLOW_FUNCTION = """
    CREATE FUNCTION learning.slow() RETURNS json STABLE LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
"""
UNCHECKED = [("reconcile.learner_unchecked", 1), ("reconcile.attempts_graded_by_old_key", 2)]
OTHER_VIEW = (
    "DROP VIEW learning.published_items CASCADE;"
    "CREATE VIEW learning.published_items AS SELECT {} FROM public.published_items"
)
BEGIN = text("""
    INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, created_at)
    SELECT user_id, id, '[]', now() - interval '2 days' FROM study_topics WHERE user_id = :user_id
""")
END = text("UPDATE uploads SET status = :status, reason = :reason, finalized_at = now()")
LEARNER = text("SELECT q.user_id FROM published_items i JOIN study_questions q ON q.id = i.source_id LIMIT 1")

TOPIC = text("SELECT id FROM study_topics WHERE user_id = :user_id")


def learner(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(scalar(connection, LEARNER))


def differences(host: Host, *words: str, code: int = 1) -> str:
    ran = host.ours("catalog", "reconcile", *words)
    assert ran.exit_code == code, ran.output
    return ran.stdout


def test_removing_us_leaves_it_byte_for_byte_as_it_was(host: Host) -> None:
    before = host.dump()
    host.adopt()
    host.adopt()  # nothing more to do
    engine = make_engine(StoreSettings(database_url=host.url, database_schema=SCHEMA))
    assert ingest(engine, upload(answer("ann-0", AT), answer("ann-1", AT, WRONG))).status == "ingested"
    assert [each.differing for each in verify(engine)] == [set(), set()]
    engine.dispose()
    assert host.dump() != before
    host.run(f"DROP SCHEMA {SCHEMA} CASCADE")
    assert host.dump() == before


def test_its_learners_learn_as_those_of_our_own_catalog(engine: Engine, database_url: str) -> None:
    sent = [
        upload(answer("ann-0", AT), answer("ann-1", AT, WRONG), answer("ann-0", AT, WRONG)),
        upload(answer("ann-0", LATER), answer("ann-2", LATER, unsure=True)),
    ]
    ours = make_engine(StoreSettings(database_url=database_url))
    questions = [
        factories.question(110 + n, f"ann-{n}", user_id=1, study_topic_id=11, subject=f"subject {n % 2}")
        for n in range(3)
    ]
    topic = {"id": 11, "user_id": 1, "name": "anatomy", "exam_on": "2027-01-31"}
    users = [{"id": 1, "time_zone": "Asia/Seoul"}]
    factories.load(ours, {"users": users, "topics": [topic], "questions": questions})
    learned = []
    for each, user_id in ((engine, learner(engine)), (ours, 1)):
        assert [ingest(each, one).status for one in sent] == ["ingested"] * 2
        with each.connect() as connection:
            learned.append(list(list_progress(connection, user_id)))
    ours.dispose()
    assert learned[0] == learned[1] != []


@pytest.mark.parametrize("column", ["user_id", "owner_id"])
def test_a_question_belongs_to_the_owner_of_its_topic_not_to_its_author(
    host: Host, kind: str, column: str
) -> None:
    author = "(SELECT id FROM users WHERE email = 'ben@example')"
    host.run(
        f"ALTER TABLE study_questions ADD {column} {kind} REFERENCES users",
        f"UPDATE study_questions SET {column} = {author}",  # noqa: S608  # of tests
    )
    host.adopt()
    engine = make_engine(StoreSettings(database_url=host.url, database_schema=SCHEMA))
    with engine.connect() as connection:
        owner = scalar(connection, text("SELECT user_id FROM study_topics ORDER BY id LIMIT 1"))
    assert fates(engine, upload(answer("ann-0", AT))) == ["counted"]
    assert [each["user_id"] for each in rows(engine, StudyQuestionProgress)] == [owner]
    engine.dispose()


def test_an_upload_is_ingested_and_shown_as_due(
    adopted: Host, engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    more = {"database_url": adopted.url, "database_schema": SCHEMA}
    with processes(settings.model_copy(update=more), tmp_path) as house:
        for name in ("worker", "sweeper"):
            house.start(name)
        with httpx.Client(base_url=house.serve(), timeout=PATIENCE_S) as web:
            tokens = ("viewer-token-of-tests", "study-token-of-tests")
            host = with_ingest(adopted.url, web, *tokens).test_client()
            sent = upload(answer("ann-0", AT), answer("ann-1", AT, WRONG))
            assert host.post("/uploads", json=sent).status_code == 202
            until(lambda: standing(engine, sent).status == "ingested", "it is ingested")
            user = adopted.program(
                "psql", "--tuples-only", "-c", "SELECT id FROM users WHERE email = 'ann@example'"
            )
            due = host.get(f"/users/{user.strip()}/due?before=2027-06-01")
            assert due.json == ["ann-1", "ann-0"]
    assert [each.differing for each in verify(engine)] == [set(), set()]


@pytest.mark.parametrize("words", [["load"], ["load", "--dry-run"], ["load", "--force"]])
def test_nothing_of_ours_writes_to_its_tables(adopted: Host, tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "catalog.json"
    file.write_text(json.dumps({"users": [{"id": 9}]}))
    before = adopted.dump()
    refused = adopted.ours("catalog", *words, str(file))
    assert refused.exit_code == 1
    assert refused.output.startswith(
        "Error: DATABASE_SCHEMA: the catalog in this schema consists of views on a document"
    )
    assert adopted.dump() == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "", 409),
        ("DELETE", "/questions/1", 409),
        ("DELETE", "/topics/1", 409),
        ("DELETE", "/learners/1", 200),
        ("GET", "/learners/1", 200),
        ("GET", "/digest", 200),
    ],
)
def test_over_http_the_catalog_is_only_read(
    adopted: Host, settings: Settings, method: str, path: str, status: int
) -> None:
    more = {"database_url": adopted.url, "database_schema": SCHEMA, "catalog_token": "catalog-token-of-tests"}
    web = create_app(Settings.model_validate(settings.model_dump() | more)).test_client()
    users = adopted.program("psql", "--tuples-only", "-c", "TABLE users")
    headers = {"Authorization": f"Bearer {more['catalog_token']}"}
    body = {"users": [{"id": 9}]} if method == "PUT" else None
    answered = web.open(f"/catalog{path}", method=method, headers=headers, json=body)
    assert answered.status_code == status, answered.text
    if status == 409:
        assert answered.json["type"] == "/problems/host-catalog"
    assert adopted.program("psql", "--tuples-only", "-c", "TABLE users") == users


def test_a_learner_is_locked_for_others_and_no_row_of_its_own_is(adopted: Host, engine: Engine) -> None:
    user_id = learner(engine)
    with engine.begin() as first, engine.begin() as second:
        assert lock_learner(first, user_id) is not None
        assert lock_learner(second, user_id, wait=False) is None
        assert lock_learner(second, user_id + 1, wait=False) is not None
        assert lock_learner(second, -1) is None
        adopted.run("SET LOCAL lock_timeout = '3s'", "UPDATE users SET timezone = 'UTC'", "DELETE FROM users")
    with engine.begin() as connection:
        assert lock_learner(connection, user_id) is None


def test_an_idle_session_is_abandoned_unless_its_learner_is_locked(engine: Engine) -> None:
    user_id = learner(engine)
    with engine.begin() as connection:
        db.execute(connection, BEGIN, {"user_id": user_id})
    idle = {"idle": factories.NOW - factories.ARRIVAL, "now": factories.NOW, "default_zone": "UTC"}
    with engine.begin() as other, engine.begin() as connection:
        lock_learner(other, user_id)
        assert abandon_idle(connection, **idle) == 0
    with engine.begin() as connection:
        assert abandon_idle(connection, **idle) == 1


def test_what_it_changed_is_listed_and_reconciled(adopted: Host, engine: Engine) -> None:
    user_id = learner(engine)
    sent = upload(answer("ann-0", AT), answer("ann-1", AT, WRONG), answer("ann-1", LATER, unsure=True))
    ingest(engine, sent)
    assert differences(adopted, code=0) == "0 differences\n"
    adopted.client.put("/published_items/ann-1/correct_choice", json=WRONG)
    listed = f"learner {user_id} has attempts graded by another key than the present one: ann-1 (2 attempts)"
    assert differences(adopted) == f"{listed}\n1 differences\n"
    assert differences(adopted, "--force", code=0) == f"{listed}; reconciled\n1 differences\n"
    assert differences(adopted, code=0) == "0 differences\n"
    assert [topic["correct_count"] for topic in standing(engine, sent).result["topics"]] == [2]
    assert [each.differing for each in verify(engine)] == [set(), set()]

    adopted.run("DELETE FROM users WHERE email = 'ann@example'")
    assert f"learner {user_id} is gone" in differences(adopted)
    assert f"learner {user_id} is gone" in differences(adopted, "--force", code=0)
    assert differences(adopted, code=0) == "0 differences\n"
    left = {name: len(rows) for name, rows in factories.everything(engine).items() if rows}
    assert {"study_quiz_sessions", "study_question_attempts", "study_question_progress"}.isdisjoint(left)
    assert standing(engine, sent).result is None


def test_a_learner_who_is_gone_before_their_first_session_ends_is_listed(
    adopted: Host, engine: Engine
) -> None:
    user_id = learner(engine)
    with engine.begin() as connection:
        db.execute(connection, BEGIN, {"user_id": user_id})
    assert differences(adopted, code=0) == "0 differences\n"
    adopted.run("DELETE FROM users WHERE email = 'ann@example'")
    assert f"learner {user_id} is gone" in differences(adopted)
    assert f"learner {user_id} is gone" in differences(adopted, "--force", code=0)
    assert differences(adopted, code=0) == "0 differences\n"


@pytest.mark.parametrize("has_conflict", [False, True])
def test_a_learner_who_is_gone_before_the_first_replay_is_listed(
    adopted: Host,
    engine: Engine,
    has_conflict: bool,  # noqa: FBT001  # by pytest
) -> None:
    user_id = learner(engine)
    sent = upload(answer("ann-0", AT))
    deliver(engine, sent, learner_id=None if has_conflict else user_id)
    if has_conflict:
        deliver(engine, sent | {"attempts": [answer("ann-1", AT)]}, learner_id=user_id)
    adopted.run("DELETE FROM users WHERE email = 'ann@example'")
    work_off(engine, sent)
    assert standing(engine, sent).reason == "unknown_questions"
    assert f"learner {user_id} is gone" in differences(adopted, "--force", code=0)
    assert differences(adopted, code=0) == "0 differences\n"
    payloads = [row["payload"] for row in rows(engine, UploadConflict if has_conflict else Upload)]
    assert payloads == [None]


@pytest.mark.parametrize("kind", ["uuid"], indirect=True)
def test_a_learner_whose_id_is_changed_keeps_their_number(adopted: Host, engine: Engine) -> None:
    adopted.run(
        "ALTER TABLE study_topics DROP CONSTRAINT study_topics_user_id_fkey,"
        " ADD FOREIGN KEY (user_id) REFERENCES users ON UPDATE CASCADE"
    )
    user_id = learner(engine)
    ingest(engine, upload(answer("ann-0", AT)))
    adopted.run("UPDATE users SET id = gen_random_uuid()")
    assert differences(adopted, code=0) == "0 differences\n"
    assert learner(engine) == user_id
    assert fates(engine, upload(answer("ann-0", LATER))) == ["counted"]


@pytest.mark.parametrize("kind", ["ulid", "citext"], indirect=True)
def test_users_with_ids_of_another_type_have_numbers(adopted: Host, engine: Engine) -> None:
    with engine.connect() as connection:
        assert list(faults(connection)) == []
    assert fates(engine, upload(answer("ann-0", AT))) == ["counted"]
    adopted.add("users", email="cho@example")
    adopted.run("UPDATE users SET id = 'ben2' WHERE email = 'cho@example'")
    with engine.connect() as connection:
        assert scalar(connection, text("SELECT count(*) FROM users")) == 3
    assert adopted.client.delete("/users/ben2").status_code == 204
    with engine.connect() as connection:
        assert scalar(connection, text("SELECT count(*) FROM learner_ids")) == 2


def test_a_learner_who_is_back_meanwhile_loses_nothing(engine: Engine) -> None:
    user_id = learner(engine)
    ingest(engine, upload(answer("ann-0", AT)))
    before = factories.everything(engine)
    with engine.begin() as connection:
        assert not reconcile(connection, Difference(user_id, {}), None)
    assert factories.everything(engine) == before


def test_what_was_learned_at_a_deleted_question_is_exported(adopted: Host, engine: Engine) -> None:
    ingest(engine, upload(answer("ann-0", AT)))
    adopted.run("DELETE FROM study_questions")
    for what in ("attempts", "progress"):
        exported = adopted.ours("export", what).stdout.splitlines()
        assert len(exported) == 2, exported


def test_a_topic_that_is_handed_over_leaves_the_lists_of_its_former_owner(
    adopted: Host, engine: Engine
) -> None:
    ben, ann = "(SELECT id FROM users WHERE email = 'ben@example')", learner(engine)
    ingest(engine, upload(answer("ann-0", AT, WRONG)))
    learned = factories.progress(engine)

    def listed() -> tuple[int, int, int]:
        when = {"now": factories.NOW, "default_zone": "UTC", "limit": 9}
        with engine.connect() as connection:
            due = lists.due_reviews(connection, ann, before=None, after=lists.BEFORE_REVIEWS, **when)
            notes = lists.wrong_notes(connection, ann, state="open", after=lists.BEFORE_NOTES, **when)
            (today,) = due_calendar(connection, ann, today=factories.NOW.date(), now=factories.NOW, days=1)
        return len(due), len(notes), today.questions

    assert listed() == (1, 1, 1)
    adopted.run(f"UPDATE study_topics SET user_id = {ben}")  # noqa: S608  # of tests
    assert listed() == (0, 0, 0)
    assert factories.progress(engine) == learned
    assert [each.differing for each in verify(engine)] == [set(), set()]


def test_a_learner_is_deleted_here_alone(adopted: Host, engine: Engine) -> None:
    user_id = learner(engine)
    ingest(engine, upload(answer("ann-0", AT)))
    deleted = adopted.ours("learners", "delete", str(user_id), "--yes")
    assert deleted.output.startswith(f"deleted of learner {user_id}: 1 sessions, 1 attempts"), deleted.output
    assert ingest(engine, upload(answer("ann-0", AT))).status == "ingested"


@pytest.mark.parametrize("status", ["received", "rejected", "dead", "ingested"])
@pytest.mark.parametrize("first", ["nobody", "we", "the host"])
def test_I11_what_was_deleted_here_is_not_stored_when_it_is_sent_again(
    adopted: Host, engine: Engine, status: str, first: str
) -> None:
    user_id = learner(engine)
    sent = upload(answer("ann-0", AT))
    other = sent | {"attempts": [answer("ann-1", AT)]}
    deliver(engine, sent, learner_id=user_id)
    deliver(engine, other, learner_id=user_id)
    if status == "ingested":
        work_off(engine, sent)
    elif status != "received":
        reason = "unknown_questions" if status == "rejected" else None
        with engine.begin() as connection:
            db.execute(connection, END, {"status": status, "reason": reason})
    if first == "the host":
        adopted.run("DELETE FROM users")
    assert adopted.ours("learners", "delete", str(user_id), "--yes").exit_code == 0
    if first == "we":
        adopted.run("DELETE FROM users")
    for each in (sent, other):
        deliver(engine, each, learner_id=user_id)
        deliver(engine, each)
    assert [row["payload"] for table in (Upload, UploadConflict) for row in rows(engine, table)] == [None] * 2


def test_the_sweeper_logs_once_a_day_what_it_changed(
    adopted: Host, engine: Engine, settings: Settings
) -> None:
    ingest(engine, upload(answer("ann-0", AT)))
    adopted.client.put("/published_items/ann-0/correct_choice", json=WRONG)
    more = {"database_url": adopted.url, "database_schema": SCHEMA}
    sweepers = [Sweeper(settings.model_copy(update=more)) for _ in range(2)]
    with capture_logs() as logs:
        for sweeper in sweepers:
            for _ in range(6):  # learners, then nothing more to do until tomorrow
                sweeper._log_differences()  # noqa: SLF001  # as its job does
            sweeper._engine.dispose()  # noqa: SLF001  # at its end
    (event,) = logs
    assert (event["event"], event["learner"], event["attempts"]) == (
        "reconcile.attempts_graded_by_old_key",
        learner(engine),
        1,
    )


def logged(adopted: Host, settings: Settings) -> list[tuple[str, int]]:
    """Return what a sweeper logs of the differences of two learners."""
    sweeper = Sweeper(settings.model_copy(update={"database_url": adopted.url, "database_schema": SCHEMA}))
    with capture_logs() as logs:
        for _ in range(5):
            sweeper._log_differences()  # noqa: SLF001  # as its job does
    sweeper._engine.dispose()  # noqa: SLF001  # at its end
    return [(each["event"], each["learner"]) for each in logs]


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_I12_a_learner_who_cannot_be_compared_stops_no_other(
    adopted: Host, engine: Engine, settings: Settings
) -> None:
    ingest(engine, upload(answer("ann-0", AT)))
    ingest(engine, upload(answer("ben-0", AT)))
    adopted.client.put("/published_items/ben-0/correct_choice", json=WRONG)
    adopted.run(
        OTHER_VIEW.format(
            f"pub_id::text, source_id, {FAILING} AS choices, correct_choice, now() published_at"
        )
    )
    assert logged(adopted, settings) == UNCHECKED
    for words, done in (((), ""), (("--force",), "; reconciled")):
        unchecked, changed, count = differences(adopted, *words).splitlines()
        assert unchecked.startswith(
            "learner 1 was not checked, as a row of the catalog cannot be read, or takes too long (DataError"
        )
        assert changed.endswith(f"ben-0 (1 attempts){done}")
        assert count == "1 differences, 1 learners not checked"
    assert len(rows(engine, StudyQuestionProgress)) == 2


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_I12_a_learner_whose_comparison_takes_too_long_stops_no_other(
    adopted: Host, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sweeper.COMPARE_S", 0.5)
    ingest(engine, upload(answer("ann-0", AT)))
    ingest(engine, upload(answer("ben-0", AT)))
    adopted.client.put("/published_items/ben-0/correct_choice", json=WRONG)
    adopted.run(SLOW_FUNCTION)
    adopted.run(
        OTHER_VIEW.format(f"pub_id::text, source_id, {SLOW} AS choices, correct_choice, now() published_at")
    )
    assert logged(adopted, settings) == UNCHECKED


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_I12_a_slow_view_of_learners_holds_no_step_of_the_sweeper(adopted: Host, engine: Engine) -> None:
    for name in ("ann-0", "ben-0"):
        ingest(engine, upload(answer(name, AT)))
    adopted.run(
        "CREATE FUNCTION learning.slowly(id integer) RETURNS integer STABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(60); RETURN id; END $$",
        "CREATE OR REPLACE VIEW learning.users AS"
        " SELECT learning.slowly(id) AS id, CAST(timezone AS text) AS time_zone FROM public.users",
    )
    found = Differences(engine, limit=0.1)
    halves = [next(found) for _ in range(BATCH.bit_length() - 1)]
    assert halves == [[]] * len(halves)
    for _ in range(2):
        with pytest.raises(DBAPIError):
            next(found)


def test_what_an_earlier_release_rejected_is_not_a_learners_who_is_gone(
    adopted: Host, engine: Engine
) -> None:
    """It noted the owner of the questions, though another learner's token had sent the upload."""
    ann = learner(engine)
    sent = upload(answer("ann-0", AT), answer("nobody", AT))
    deliver(engine, sent, learner_id=3 - ann)
    work_off(engine, sent)
    with engine.begin() as connection:
        connection.execute(text("UPDATE uploads SET user_id = :ann"), {"ann": ann})
    adopted.run("DELETE FROM users WHERE email = 'ann@example'")
    assert differences(adopted, code=0) == "0 differences\n"


def test_what_the_sweeper_could_not_read_it_reads_later(
    adopted: Host, engine: Engine, settings: Settings
) -> None:
    ingest(engine, upload(answer("ann-0", AT)))
    adopted.client.put("/published_items/ann-0/correct_choice", json=WRONG)
    sweeper = Sweeper(settings.model_copy(update={"database_url": adopted.url, "database_schema": SCHEMA}))
    (job,) = [each for each in sweeper._jobs if each._name == "reconcile"]  # noqa: SLF001  # of tests
    adopted.run(f"ALTER VIEW {SCHEMA}.published_items RENAME TO away")
    with capture_logs() as logs:
        for _ in range(3):
            job.run()
        adopted.run(f"ALTER VIEW {SCHEMA}.away RENAME TO published_items")
        for _ in range(3):
            job.run()
    sweeper._engine.dispose()  # noqa: SLF001  # at its end
    assert [each["event"] for each in logs] == [
        "sweeper.failing",
        "reconcile.attempts_graded_by_old_key",
        "sweeper.recovered",
    ]


@pytest.mark.parametrize("migrated", [False, True])
def test_our_role_reads_the_catalog_alone(host: Host, *, migrated: bool) -> None:
    role = f"role_{uuid4().hex}"
    host.run(f"CREATE ROLE {role} LOGIN")
    printed = host.adopt().replace("study_ingest", role)
    grants = [line.removeprefix("-- ") for line in printed.splitlines() if role in line]
    assert len(grants) == 5
    if not migrated:
        host.run(f"DROP SCHEMA {SCHEMA} CASCADE")
        host.program("psql", "-v", "ON_ERROR_STOP=1", "-f", "-", text=printed)
    host.run(*grants)
    assert host.ours("migrate").exit_code == 0
    url = make_url(host.url).set(username=role).render_as_string(hide_password=False)
    engine = make_engine(StoreSettings(database_url=url, database_schema=SCHEMA))
    with engine.connect() as connection:
        assert scalar(connection, text("SELECT current_user")) == role
        assert list(faults(connection)) == []
    assert ingest(engine, upload(answer("ann-0", AT))).status == "ingested"
    for statement in (
        "UPDATE users SET id = id",
        "DELETE FROM published_items",
        "TABLE public.users",
    ):
        denied = pytest.raises(DBAPIError, match=r"permission denied|cannot update view")
        with denied, engine.begin() as connection:
            connection.execute(text(statement))

    host.run(f"DROP VIEW {SCHEMA}.study_topics CASCADE")
    host.program("psql", "-v", "ON_ERROR_STOP=1", "-f", "-", text=printed)
    with engine.connect() as connection:
        found = [detail for detail, _ in faults(connection)]
    assert found == [
        f"{name} can be written by the role in DATABASE_URL" for name in ("study_topics", "study_questions")
    ]
    host.run(*grants)
    with engine.connect() as connection:
        assert list(faults(connection)) == []
    engine.dispose()
    host.run(f"DROP SCHEMA {SCHEMA} CASCADE", f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_column_that_a_view_reads_is_changed_and_the_views_are_made_again(host: Host) -> None:
    printed = host.adopt()
    host.run(
        f"DROP VIEW {SCHEMA}.study_questions CASCADE",
        "ALTER TABLE study_questions ALTER subject TYPE text",
    )
    engine = make_engine(StoreSettings(database_url=host.url, database_schema=SCHEMA))
    deliver(engine, sent := upload(answer("ann-0", AT)))
    with pytest.raises(DBAPIError) as refused:
        factories.work_off(engine, sent)
    assert is_transient(refused.value)
    host.program("psql", "-v", "ON_ERROR_STOP=1", "-f", "-", text=printed)
    factories.work_off(engine, sent)
    with engine.connect() as connection:
        assert len(list(list_progress(connection, scalar(connection, LEARNER)))) == 1
    engine.dispose()


DRAFTS = (
    "ALTER TABLE published_items DROP CONSTRAINT published_items_pkey, ADD UNIQUE (pub_id)",
    "ALTER TABLE published_items ALTER pub_id DROP NOT NULL, ALTER choices DROP NOT NULL",
    "ALTER TABLE published_items ALTER correct_choice DROP NOT NULL",
    "ALTER TABLE study_questions ALTER subject DROP NOT NULL",
    "UPDATE study_questions SET subject = NULL",
    "INSERT INTO published_items (pub_id, source_id) SELECT 'draft', min(id) FROM study_questions",
    "INSERT INTO published_items (source_id, choices) SELECT min(id), '[]' FROM study_questions",
)


def fates(engine: Engine, sent: dict[str, Any]) -> list[str]:
    return [each.get("reason", each["status"]) for each in ingest(engine, sent).result["attempts"]]


def test_drafts_and_questions_without_a_subject_are_no_fault(host: Host) -> None:
    host.run(*DRAFTS)
    host.adopt()
    engine = make_engine(StoreSettings(database_url=host.url, database_schema=SCHEMA))
    with engine.connect() as connection:
        assert list(faults(connection)) == []
    assert fates(engine, upload(answer("ann-0", AT), answer("draft", AT))) == ["counted", "unknown_question"]
    engine.dispose()


def test_another_learners_draft_is_an_unknown_question(adopted: Host, engine: Engine) -> None:
    """If the lock counted the draft's owner, and the plan did not, the upload would be tried for ever."""
    adopted.run("UPDATE published_items SET correct_choice = 4 WHERE pub_id = 'ben-0'")
    assert fates(engine, upload(answer("ann-0", AT), answer("ben-0", AT))) == ["counted", "unknown_question"]


@pytest.mark.parametrize("kind", ["int"], indirect=True)
@pytest.mark.parametrize("other", ["ben", "ann"])
def test_a_pub_id_of_several_editions_is_an_unknown_question(
    adopted: Host, engine: Engine, other: str
) -> None:
    """If the lock counted both owners, and the plan one of them, the upload would be tried for ever."""
    adopted.run(
        "ALTER TABLE published_items DROP CONSTRAINT published_items_pkey",
        "CREATE INDEX ON published_items (pub_id)",
        f"UPDATE published_items SET pub_id = 'ann-0' WHERE pub_id = '{other}-2'",  # noqa: S608  # of tests
    )
    alone = upload(answer("ann-0", AT))
    assert fates(engine, alone) == ["unknown_question"]
    assert standing(engine, alone).reason == "unknown_questions"
    assert fates(engine, upload(answer("ann-0", AT), answer("ann-1", AT))) == ["unknown_question", "counted"]
    assert fates(engine, upload(answer("ben-0", AT))) == ["counted"]
    assert fates(engine, upload(answer("ann-0", AT), answer("ben-1", AT))) == ["unknown_question", "counted"]


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_a_question_that_is_shown_twice_is_an_unknown_question(adopted: Host, engine: Engine) -> None:
    adopted.run(
        "ALTER VIEW learning.study_questions RENAME TO shown",
        "CREATE VIEW learning.study_questions AS TABLE learning.shown UNION ALL"
        " SELECT id, 3 - user_id, study_topic_id, subject, exam_frequency, retired_at FROM learning.shown"
        " WHERE id = (SELECT source_id FROM published_items WHERE pub_id = 'ann-0')",
    )
    assert fates(engine, upload(answer("ann-0", AT), answer("ann-1", AT))) == ["unknown_question", "counted"]


def test_an_upload_whose_learner_the_view_lacks_waits_for_an_operator(adopted: Host, engine: Engine) -> None:
    sent = upload(answer("ann-0", AT))
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL search_path TO ''"))  # so that the definition names the schemas
        users = scalar(connection, text(f"SELECT rtrim(pg_get_viewdef('{SCHEMA}.users'), ';')"))
    adopted.run(f"CREATE OR REPLACE VIEW {SCHEMA}.users AS SELECT * FROM ({users}) AS known LIMIT 0")  # noqa: S608  # our own words
    found = ingest(engine, sent)
    assert (found.status, found.reason) == ("rejected", "unknown_learner")
    assert [each.reason for each in Result.model_validate(found.result).attempts] == ["unknown_learner"]
    adopted.run(f"CREATE OR REPLACE VIEW {SCHEMA}.users AS {users}")
    with engine.begin() as connection:
        set_back(connection, factories.uuid_of(sent))
    work_off(engine, sent)
    assert standing(engine, sent).status == "ingested"


def test_no_answer_is_graded_by_a_right_choice_that_is_none(adopted: Host, engine: Engine) -> None:
    adopted.run("UPDATE published_items SET correct_choice = 4 WHERE pub_id = 'ann-0'")
    adopted.run("UPDATE published_items SET choices = '{}' WHERE pub_id = 'ann-1'")
    sent = upload(answer("ann-0", AT), answer("ann-1", AT), answer("ann-2", AT))
    assert fates(engine, sent) == ["unknown_question", "unknown_question", "counted"]
    adopted.run("UPDATE published_items SET correct_choice = -1")
    assert differences(adopted, "--force", code=0) == "0 differences\n"


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_a_learner_with_the_id_0_has_a_time_zone_of_their_own(adopted: Host, engine: Engine) -> None:
    adopted.run(
        "INSERT INTO users (id, email, timezone) VALUES (0, 'zoe@example', 'Pacific/Kiritimati')",
        "UPDATE study_topics SET user_id = 0",
    )
    ingest(engine, upload(answer("ann-0", "2026-11-20T20:00:00Z")))
    assert [str(each["last_study_date"]) for each in rows(engine, StudyQuestionProgress)] == ["2026-11-21"]


@pytest.fixture
def front(adopted: Host, engine: Engine, settings: Settings) -> Front:
    """Send requests of a learner to the live side."""
    more = {"database_url": adopted.url, "database_schema": SCHEMA}
    app = create_app(Settings.model_validate(settings.model_dump() | more))
    web = httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://localhost")
    return Front(web, learner(engine))


def start(front: Front, engine: Engine, **request: Any) -> Any:
    """Start a live session in the learner's topic."""
    with engine.connect() as connection:
        topic = scalar(connection, TOPIC, {"user_id": front.learner})
    response = front.start(topic, **request)
    assert response.status_code == 201, response.text
    return response.json()


def asked(session: Any) -> set[str]:
    return {each["pub_id"] for each in session["questions"]}


UNUSABLE = ["choices = '{}'", "choices = '[]'", "choices = NULL", "correct_choice = 4", "correct_choice = -1"]


@pytest.mark.parametrize("kind", ["int"], indirect=True)
@pytest.mark.parametrize("change", UNUSABLE)
def test_a_live_session_asks_no_edition_that_cannot_be_graded(
    adopted: Host, engine: Engine, front: Front, change: str
) -> None:
    adopted.run(
        "ALTER TABLE published_items ALTER choices DROP NOT NULL",
        f"UPDATE published_items SET {change} WHERE pub_id IN ('ann-0', 'ann-1')",  # noqa: S608  # of tests
        "UPDATE study_questions SET exam_frequency = 0"  # so that the others would come first
        " WHERE id = (SELECT source_id FROM published_items WHERE pub_id = 'ann-2')",
    )
    session = start(front, engine, quiz_mode="due", new_per_session=1)
    assert asked(session) == {"ann-2"}
    assert front.answer(session["session_id"], "ann-2").status_code == 200


SEVERAL = (
    "ALTER TABLE published_items DROP CONSTRAINT published_items_pkey",
    "CREATE INDEX ON published_items (pub_id)",
)
SHOWN_TWICE = (
    "ALTER VIEW learning.study_questions RENAME TO shown",
    """
    CREATE VIEW learning.study_questions AS TABLE learning.shown UNION ALL
    SELECT * FROM learning.shown WHERE id = (SELECT source_id FROM published_items WHERE pub_id = 'ann-0')
    """,
)


@pytest.mark.parametrize("kind", ["int"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        (*SEVERAL, "UPDATE published_items SET pub_id = 'ann-0' WHERE pub_id = 'ann-2'"),
        (*SEVERAL, "UPDATE published_items SET pub_id = 'ann-0' WHERE pub_id = 'ben-2'"),
        SHOWN_TWICE,
    ],
    ids=["of one learner", "of two learners", "question shown twice"],
)
def test_a_live_session_asks_nothing_that_several_editions_name(
    adopted: Host, engine: Engine, front: Front, change: tuple[str, ...]
) -> None:
    adopted.run(*change)
    adopted.program(
        "psql", "-v", "ON_ERROR_STOP=1", "-f", "-", text=f"SET search_path = learning;{EDITIONS_ASKED}"
    )
    session = start(front, engine)
    assert "ann-0" not in asked(session)
    answers = [front.answer(session["session_id"], pub_id) for pub_id in asked(session)]
    assert {each.status_code for each in answers} == {200}


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_what_several_editions_name_keeps_its_outcome(adopted: Host, engine: Engine) -> None:
    ingest(engine, upload(answer("ann-0", AT)))
    adopted.run(
        *SEVERAL,
        "INSERT INTO published_items (pub_id, source_id, choices, correct_choice)"
        " SELECT pub_id, source_id, choices, 2 FROM published_items WHERE pub_id = 'ann-0'",
    )
    before = rows(engine, StudyQuestionAttempt)
    assert differences(adopted, "--force", code=0) == "0 differences\n"
    assert rows(engine, StudyQuestionAttempt) == before


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_the_doctor_names_the_view_of_an_earlier_release(adopted: Host, engine: Engine) -> None:
    adopted.run("COMMENT ON VIEW learning.current_editions IS NULL")
    with engine.connect() as connection:
        (fault,) = faults(connection)
    assert fault[0] == "current_editions is not the view of this release"


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_an_older_edition_is_asked_while_the_newest_cannot_be_graded(
    adopted: Host, engine: Engine, front: Front
) -> None:
    adopted.run(
        "INSERT INTO published_items (pub_id, source_id, choices, correct_choice, published_at)"
        " SELECT 'new-' || pub_id, source_id, '[]', 0, '2026-01-01' FROM published_items"
    )
    assert asked(start(front, engine)) == {"ann-0", "ann-1", "ann-2"}


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_a_live_session_goes_on_without_an_edition_that_can_no_longer_be_graded(
    adopted: Host, engine: Engine, front: Front
) -> None:
    adopted.run(
        "INSERT INTO published_items (pub_id, source_id, choices, correct_choice, published_at)"
        """ SELECT 'new-0', source_id, '["e", "f"]', 0, '2026-01-01' FROM published_items"""
        " WHERE pub_id = 'ann-0'"
    )
    session = start(front, engine)["session_id"]
    assert front.answer(session, "new-0").status_code == 200
    assert front.answer(session, "ann-1").status_code == 200
    adopted.run("UPDATE published_items SET choices = '{}' WHERE pub_id IN ('new-0', 'ann-1')")
    shown = front.read(session)["questions"]
    assert {each["pub_id"]: len(each["choices"]) for each in shown} == {"ann-0": 4, "ann-2": 4}
    assert front.answer(session, "ann-2").status_code == 200
    assert front.finalize(session).json()["snapshot"]["correct_count"] == 2


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_the_cursor_passes_over_a_question_that_was_deleted(
    adopted: Host, engine: Engine, front: Front
) -> None:
    session = start(front, engine)
    first, second, third = (each["pub_id"] for each in session["questions"])
    source = text("SELECT source_id FROM published_items WHERE pub_id = :pub_id")
    with engine.connect() as connection:
        question = scalar(connection, source, {"pub_id": first})
    adopted.run(f"DELETE FROM study_questions WHERE id = {question}")  # noqa: S608  # of tests
    cursors = [front.read(session["session_id"])["cursor"]]
    for pub_id in (second, third):
        assert front.answer(session["session_id"], pub_id).status_code == 200
        cursors.append(front.read(session["session_id"])["cursor"])
    assert cursors == [1, 2, 3]


@pytest.mark.parametrize("kind", ["int"], indirect=True)
@pytest.mark.parametrize(
    ("stored", "bad"),
    [
        ("text", ""),
        ("text", "{}"),
        ("text", '["\\u0000"]'),
        ("json", '["\\u0000"]'),
        ("json", "[1e999999]"),
        ("varchar(80)", "a | b"),
    ],
)
def test_choices_that_are_no_json_array_are_a_fault_of_their_row_alone(
    host: Host, stored: str, bad: str
) -> None:
    host.run(f"ALTER TABLE published_items ALTER choices TYPE {stored} USING CAST(choices AS text)::{stored}")
    host.adopt()
    engine = make_engine(StoreSettings(database_url=host.url, database_schema=SCHEMA))
    with engine.connect() as connection:
        assert list(faults(connection)) == []
    ingest(engine, upload(answer("ann-0", AT), answer("ben-0", AT)))
    host.run(f"UPDATE published_items SET choices = '{bad}' WHERE pub_id = 'ann-0'")  # noqa: S608  # of tests
    with engine.connect() as connection:
        details = [detail for detail, _ in faults(connection)]
    assert "published_items.correct_choice names no choice of 'ann-0'" in details
    assert differences(host, code=0) == "0 differences\n"
    sent = upload(answer("ann-0", LATER), answer("ann-1", LATER))
    assert fates(engine, sent) == ["unknown_question", "counted"]
    engine.dispose()


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_before_postgres_16_choices_are_cast_without_a_test(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(StoreSettings(database_url=host.url))
    with engine.connect() as connection:
        assert "pg_input_is_valid" in print_views(connection, SCHEMA, "public", "UTC")
        monkeypatch.setattr(engine.dialect, "server_version_info", (15, 14))
        assert "    CAST(host.choices AS jsonb) AS choices" in print_views(
            connection, SCHEMA, "public", "UTC"
        )
    engine.dispose()


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_choices_that_are_no_texts_are_shown_as_json(adopted: Host, engine: Engine, front: Front) -> None:
    adopted.run("""UPDATE published_items SET choices = '[1, 2.50, null, {"text": "é"}]'""")
    session = start(front, engine)
    assert [each["choices"] for each in session["questions"]] == [["1", "2.5", "null", '{"text": "é"}']] * 3
    assert front.answer(session["session_id"], "ann-0").json()["outcome"] == "correct"


DRAFT_VIEW = OTHER_VIEW.format(
    "pub_id::text, source_id, choices::jsonb, CASE WHEN pub_id <> 'ann-0' THEN correct_choice END"
    " AS correct_choice, published_at::timestamptz"
)


def test_an_import_leaves_out_a_draft_that_a_view_shows(
    adopted: Host, engine: Engine, tmp_path: Path
) -> None:
    adopted.run(DRAFT_VIEW)
    notes = [(1, BASIC, "ann-0"), (2, BASIC, "ann-1")]
    file = write(tmp_path / "collection.colpkg", notes, [(START, 1, 3), (START + 60_000, 2, 3)])
    words = ("--learner", str(learner(engine)), "--field", "Code", "--yes")
    imported = adopted.ours("import", str(file), *words)
    assert imported.exit_code == 0, imported.output
    assert "2 reviews: 1 answers in 1 sessions" in imported.output
    assert "1 unknown to the catalog" in imported.output


NOBODYS = """
    ALTER TABLE study_topics DROP CONSTRAINT study_topics_user_id_fkey;
    UPDATE study_topics SET user_id = 99
"""
BROKEN = [
    ("INSERT INTO users (id, email) VALUES (-1, 'zoe@example')", "users.id is negative in -1"),
    ("UPDATE published_items SET choices = '[1, 2, 3, 4]'", "choices are not all texts in"),
    ("UPDATE study_questions SET exam_frequency = 1e30", "exam_frequency is not from 0 to 1e9 in"),
    ("ALTER TABLE published_items DROP CONSTRAINT published_items_pkey", "read as a whole to find a pub_id"),
    ("DROP INDEX published_items_source_id_idx", "read as a whole to find a source_id"),
    ("UPDATE published_items SET correct_choice = correct_choice + 3", "correct_choice names no choice of"),
    ("UPDATE published_items SET choices = '{}'", "correct_choice names no choice of"),
    ("UPDATE published_items SET pub_id = ' ' || pub_id", "pub_id is not in normal form"),
    ("UPDATE published_items SET pub_id = pub_id || U&'e\\0301'", "pub_id is not in normal form"),
    (
        """
        ALTER TABLE published_items DROP CONSTRAINT published_items_pkey;
        CREATE INDEX ON published_items (pub_id);
        UPDATE published_items SET pub_id = 'ann-0'
        """,
        "several rows with the pub_id ann-0",
    ),
    (
        OTHER_VIEW.format("NULL::text pub_id, source_id, choices::jsonb, correct_choice, now() published_at"),
        "published_items.pub_id is NULL in some rows",
    ),
    (
        OTHER_VIEW.format(
            "repeat('q', 200) || pub_id AS pub_id, source_id, choices::jsonb, correct_choice,"
            " now() AS published_at"
        ),
        "pub_id has more than 200 characters",
    ),
    (
        OTHER_VIEW.format(
            "pub_id::text, source_id, choices::jsonb, correct_choice, '-infinity'::timestamptz published_at"
        ),
        "published_at is outside of the years 1 to 9999 in",
    ),
    (
        """
        ALTER VIEW learning.study_questions RENAME TO shown;
        CREATE VIEW learning.study_questions AS SELECT id, user_id, study_topic_id, NULL::text AS subject,
            exam_frequency, retired_at FROM learning.shown
        """,
        "study_questions.subject is NULL in some rows",
    ),
    (
        OTHER_VIEW.format("pub_id, source_id, choices, published_at"),
        "published_items.correct_choice is missing",
    ),
    (OTHER_VIEW.format("*"), "published_items.choices is json"),
    *(
        (
            f"""
            ALTER VIEW learning.{name} RENAME TO shown;
            CREATE VIEW learning.{name} AS TABLE learning.shown UNION ALL TABLE learning.shown
            """,
            f"{name} has several rows with the id ",
        )
        for name in ("users", "study_topics", "study_questions")
    ),
    (NOBODYS, "study_topics.user_id names no row of the view users, in the rows 1, 2"),
    (NOBODYS, "study_questions.user_id names no row of the view users, in the rows 1, 2, 3"),
    (
        """
        ALTER VIEW learning.study_questions RENAME TO shown;
        CREATE VIEW learning.study_questions AS SELECT id, 3 - user_id AS user_id, study_topic_id, subject,
            exam_frequency, retired_at FROM learning.shown
        """,
        "study_questions.study_topic_id names no topic with the same user_id, in the rows 1, 2, 3",
    ),
]


@pytest.mark.parametrize("kind", ["int"], indirect=True)
@pytest.mark.parametrize(("statement", "named"), BROKEN)
def test_the_doctor_names_what_is_wrong_with_a_view(
    adopted: Host, engine: Engine, statement: str, named: str
) -> None:
    with engine.connect() as connection:
        assert list(faults(connection)) == []
    adopted.run(*statement.split(";"))
    with engine.connect() as connection:
        found = list(faults(connection))
    assert any(named in detail for detail, _ in found), found
    assert all(fix for _, fix in found)


@pytest.mark.parametrize("kind", ["int"], indirect=True)
@pytest.mark.parametrize("stored", ["uuid", "char(40)", "citext"])
def test_a_pub_id_that_is_no_text_is_found_by_an_index_on_the_cast(host: Host, stored: str) -> None:
    new = f"CAST(CAST(gen_random_uuid() AS text) AS {stored})"
    host.run(f"ALTER TABLE published_items ALTER pub_id TYPE {stored} USING {new}")
    printed = host.adopt()
    engine = make_engine(StoreSettings(database_url=host.url, database_schema=SCHEMA))
    with engine.connect() as connection:
        ((detail, fix),) = faults(connection)
    assert detail == "published_items is read as a whole to find a pub_id"
    assert "((CAST(public_id AS text)))" in fix
    (proposed,) = [line.removeprefix("-- ") for line in printed.splitlines() if "CREATE INDEX" in line]
    host.run(proposed)
    with engine.connect() as connection:
        assert list(faults(connection)) == []
        pub_id = scalar(connection, text("SELECT pub_id FROM published_items LIMIT 1"))
    assert fates(engine, upload(answer(pub_id, AT))) == ["counted"]
    engine.dispose()


def test_adopt_wants_a_schema_of_its_own(host: Host) -> None:
    refused = host.ours("adopt", DATABASE_SCHEMA="study")
    assert "DATABASE_SCHEMA: there is a role study" in refused.output
    assert "DATABASE_SCHEMA: there is a role study" in host.ours("migrate", DATABASE_SCHEMA="study").output
    for schema in ("", "public"):
        refused = host.ours("adopt", DATABASE_SCHEMA=schema)
        assert refused.exit_code == 1
        assert refused.output.startswith("Error: DATABASE_SCHEMA: name a schema that only study-ingest uses")


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_the_time_of_an_exam_becomes_its_date_in_the_configured_time_zone(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run(
        "ALTER TABLE study_topics RENAME exam_date TO exam_at",
        "ALTER TABLE study_topics ALTER exam_at TYPE timestamptz USING '2027-01-31 08:00+09'",
    )
    monkeypatch.setenv("STUDY_TIME_ZONE", "Asia/Seoul")
    printed = host.adopt()
    engine = make_engine(StoreSettings(database_url=host.url, database_schema=SCHEMA))
    with engine.connect() as connection:
        assert str(scalar(connection, text("SELECT exam_on FROM study_topics LIMIT 1"))) == "2027-01-31"
    engine.dispose()
    monkeypatch.delenv("STUDY_TIME_ZONE")
    assert host.ours("adopt").stdout == printed  # the database has kept the time zone
    refused = host.ours("adopt", STUDY_TIME_ZONE="Europe/Berlin")
    assert refused.output.startswith("Error: STUDY_TIME_ZONE: is Europe/Berlin here, but Asia/Seoul in the")


@pytest.mark.parametrize("kind", ["int"], indirect=True)
def test_what_cannot_be_guessed_is_to_be_filled_in(host: Host) -> None:
    host.run("ALTER TABLE published_items RENAME correct_choice TO solution")
    printed = host.ours("adopt").stdout
    assert "/* FILL IN: bigint */ AS correct_choice" in printed
    assert host.program("psql", "--tuples-only", "-c", "SELECT to_regnamespace('learning')").strip() == ""
