"""A statement that was planned on an empty table still looks its rows up when the table has grown."""

from collections.abc import Callable, Iterable, Iterator

import pytest
from sqlalchemy import Engine, TextClause, text

from shared.catalog_sync import withdraw
from shared.config import Settings
from shared.db import make_engine
from shared.learners import _HAND_BACK
from shared.ops.actions import unvoid_upload, void_upload
from shared.ops.reports import effects
from shared.uploads import receive
from tests.factories import BEN, NOW, answer, deliver, delivery, ingest, load, upload, uuid_of, work_off

# From the tenth time on, Postgres keeps one plan for all parameters.
UNTIL_PLANNED = 12
MANY = 3000

# The first minute of a busy system lasts.
UNANALYZED = (
    text("ALTER TABLE uploads SET (autovacuum_enabled = off)"),
    text("ALTER TABLE study_quiz_sessions SET (autovacuum_enabled = off)"),
)
GROW = (
    text("""
        INSERT INTO uploads (client_session_uuid, payload, content_hash, received_at, next_try_at)
        SELECT gen_random_uuid(), payload, content_hash, received_at, now()
        FROM (SELECT * FROM uploads LIMIT 1) AS one, generate_series(1, :many)
    """),
    text("""
        INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, status)
        SELECT user_id, study_topic_id, question_ids, status
        FROM (SELECT * FROM study_quiz_sessions LIMIT 1) AS one, generate_series(1, :many)
    """),
)
# Uploads of another learner.
OTHERS = (
    text("""
        WITH session AS (
            INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, status, source,
                client_session_uuid)
            SELECT user_id, study_topic_id, question_ids, status, source, gen_random_uuid()
            FROM (SELECT * FROM study_quiz_sessions WHERE user_id = 2) AS one, generate_series(1, :many)
            RETURNING id)
        INSERT INTO study_question_attempts
        SELECT user_id, session.id, ordinal, study_question_id, pub_id, selected, unsure, outcome, rating,
            counted, answered_at, answered_at_raw, utc_offset, study_date, clock_adjusted
        FROM session, study_question_attempts WHERE user_id = 2
    """),
)
# Live sessions of learners with one topic each.
IN_PROGRESS = (
    text("INSERT INTO users (id) SELECT generate_series(1000, 999 + :many)"),
    text("INSERT INTO study_topics (id, user_id, name) SELECT id, id, '' FROM users WHERE id >= 1000"),
    text("""
        INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids)
        SELECT id, id, '[110, 120]' FROM users WHERE id >= 1000
    """),
    text("ANALYZE study_quiz_sessions"),
)
FLUSH = text("SELECT pg_stat_force_next_flush()")
READ = text("""
    SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)
        + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
""")


@pytest.fixture(autouse=True, params=[(), (text("ANALYZE"),)], ids=["never analyzed", "analyzed while empty"])
def _catalog(engine: Engine, request: pytest.FixtureRequest) -> None:
    load(engine)
    run(engine, [*UNANALYZED, *request.param])


@pytest.fixture
def replaying(settings: Settings) -> Iterator[Engine]:
    """Connect once, as a worker does."""
    engine = make_engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def arrivals(settings: Settings) -> Iterator[Engine]:
    """Connect once, as a web process does for uploads."""
    engine = make_engine(settings, autocommit=True)
    yield engine
    engine.dispose()


def read_by(engine: Engine, work: Callable[[], object]) -> int:
    """Count the rows and index entries that are read on an engine's one connection."""
    counts = []
    for do in (lambda: None, work):
        do()
        with engine.begin() as connection:
            connection.execute(FLUSH)
        with engine.begin() as connection:
            counts.append(int(connection.scalar(READ) or 0))
    return counts[1] - counts[0]


def run(engine: Engine, statements: Iterable[TextClause], **bound: int) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(statement, bound)
        connection.execute(FLUSH)


def test_a_replay_reads_no_more_of_tables_that_have_grown(engine: Engine, replaying: Engine) -> None:
    sent = [upload(answer("q110", f"2026-10-{day:02}T09:00:00Z")) for day in range(1, UNTIL_PLANNED + 1)]
    for each in sent:
        deliver(engine, each)
    for each in sent[:-1]:
        work_off(replaying, each)
    run(engine, GROW, many=MANY)
    assert read_by(replaying, lambda: work_off(replaying, sent[-1])) < MANY


def arrive(arrivals: Engine) -> None:
    sent = delivery(upload(answer("q110", "2026-10-01T09:00:00Z")))
    with arrivals.connect() as connection:
        receive(connection, [sent], first_try_after=30)


def test_an_arrival_reads_no_more_of_a_table_that_has_grown(engine: Engine, arrivals: Engine) -> None:
    for _ in range(UNTIL_PLANNED):
        arrive(arrivals)
    ingest(engine, upload(answer("q110", "2026-10-01T09:00:00Z")))
    run(engine, GROW, many=MANY)
    assert read_by(arrivals, lambda: arrive(arrivals)) < MANY


def test_what_an_operator_does_to_an_upload_reads_no_more_when_others_have_grown(
    engine: Engine, replaying: Engine
) -> None:
    sent = [upload(answer(pub_id, "2026-10-01T09:00:00Z")) for pub_id in ("q110", "q210")]
    for each in sent:
        ingest(engine, each)
    run(engine, OTHERS, many=MANY)

    def act() -> None:
        with replaying.begin() as connection:
            assert len(effects(connection, uuid_of(sent[0]))) == 1
            assert void_upload(connection, uuid_of(sent[0]), reason="a test") == 1
            assert unvoid_upload(connection, uuid_of(sent[0])) == 1

    assert read_by(replaying, act) < MANY


def test_a_withdrawal_reads_few_of_many_sessions_in_progress(engine: Engine, replaying: Engine) -> None:
    """Also sessions of other learners are looked up. Only ANALYZE shows Postgres that they are many."""
    run(engine, IN_PROGRESS, many=MANY)

    def retire() -> None:
        with replaying.begin() as connection:
            assert withdraw(connection, [111], now=NOW) == (1, 0)

    assert read_by(replaying, retire) < MANY


def test_a_deletion_finds_who_is_asked_by_an_index(engine: Engine, replaying: Engine) -> None:
    """Also if the learner has many questions, and each session asks many."""
    ids = "(SELECT jsonb_agg(n * 7 + id) FROM generate_series(1, 50) AS n)"
    asking = [text(str(each).replace("'[110, 120]'", ids)) for each in IN_PROGRESS]
    questions = text("""
        INSERT INTO study_questions (id, user_id, study_topic_id, subject)
        SELECT 100000 + n, 2, 21, '' FROM generate_series(1, :many) AS n
    """)
    run(engine, [questions, *asking, text("ANALYZE study_questions")], many=MANY)

    with replaying.begin() as connection:
        plan = connection.scalars(text(f"EXPLAIN {_HAND_BACK.text}"), {"user_id": BEN})
        assert "ix_study_quiz_sessions_asking" in " ".join(plan)
