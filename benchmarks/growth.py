"""P5: what a replay costs with millions of attempts in the table, and with few; which tables are scanned."""

import time
from typing import NamedTuple

import httpx
import psycopg
from sqlalchemy import Engine, text

from benchmarks.figures import Figure, ratio
from benchmarks.servers import PROCFILE, STUDY_TOKEN, Stores, libpq, running, serving
from benchmarks.workload import (
    ATTEMPTS,
    QUESTIONS,
    TOPICS,
    check_replayed,
    make_catalog,
    make_uploads,
    replay_all,
)
from cli.local.up import LOOPBACK
from shared.ops.actions import void_upload
from shared.study.progress import SCHEDULER


class Size(NamedTuple):
    """Learners of a database, questions of each learner, and attempts of each session."""

    learners: int
    questions: int
    length: int


SIZE = Size(2000, QUESTIONS, ATTEMPTS)  # the same on both sides
FEW, MANY, QUICK_MANY = 50_000, 5_000_000, 250_000
ROUNDS, UPLOADS = 7, 100
LIVE_LEARNERS, ANSWERS = 20, 3
# The learner whose sessions are voided has this many attempts, each in a session of its own.
VOID_ATTEMPTS, VOID_QUESTIONS, VOIDED = 50_000, 1000, 30

# The rows are right in number and size; fsrs would have other values. They are inserted learner by learner,
# so that every index grows at one place. Foreign keys are not checked: every row is made from its parent.
_PAST = [
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL session_replication_role = replica",
    """
    INSERT INTO study_quiz_sessions (user_id, study_topic_id, question_ids, status, source,
        client_session_uuid, finished_at, finalized_at)
    SELECT learner, learner * :topics + n % :topics, '[]', 'done', 'viewer', gen_random_uuid()::text,
        timestamptz '2020-01-01Z' + n * interval '1 hour', now()
    FROM generate_series(1, CAST(:learners AS int)) learner,
        generate_series(1, :attempts / :length / :learners) n
    """,
    """
    INSERT INTO study_question_attempts (user_id, study_quiz_session_id, study_question_id, pub_id, ordinal,
        selected, unsure, outcome, rating, counted, answered_at, answered_at_raw, study_date, clock_adjusted)
    SELECT s.user_id, s.id, s.user_id * :questions + (s.id * 11 + i) % :questions,
        'q-' || s.user_id || '-' || (s.id * 11 + i) % :questions, i, 0, FALSE, 'correct', 3, TRUE,
        s.finished_at, s.finished_at, CAST(s.finished_at AT TIME ZONE 'UTC' AS date), FALSE
    FROM study_quiz_sessions s, generate_series(0, :length - 1) i
    """,
    """
    INSERT INTO study_question_progress (user_id, study_question_id, stability, difficulty, due,
        last_answered_at, last_study_date, reviews, misses, corrects, miss_streak, correct_streak,
        correct_since, wrong_note, scheduler)
    SELECT q.user_id, q.id, 10, 5, '2024-06-01', '2024-05-01Z', '2024-05-01', 9, 0, 9, 0, 9, '2024-01-01',
        'none', :scheduler
    FROM study_questions q
    """,
]


_SOME_UPLOADS = text("""
    INSERT INTO uploads (client_session_uuid, content_hash, received_at, next_try_at, status, finalized_at)
    SELECT CAST(client_session_uuid AS uuid), 'made', now(), now(), 'ingested', now()
    FROM study_quiz_sessions ORDER BY id LIMIT :limit
    RETURNING client_session_uuid
""")

# For each table of more than 1000 rows: rows read through an index or by a scan, and the number of scans.
_READS = b"""
    SELECT relid::regclass::text, seq_tup_read + coalesce(idx_tup_fetch, 0), seq_scan
    FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid WHERE reltuples > 1000
"""


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Replay equal uploads in both databases in turn, then use the live side of the larger one."""
    many = QUICK_MANY if quick else MANY
    with stores.database("few"), stores.database("many"):
        _fill(stores, "few", FEW, SIZE)
        _fill(stores, "many", many, SIZE)
        stores.administer("CHECKPOINT")
        with stores.engine("few") as beside, stores.engine("many") as ours:
            pairs = [(_cost(ours, number), _cost(beside, number)) for number in range(ROUNDS + 1)]
        mine, theirs = zip(*pairs[1:], strict=True)  # the first round warms both sides up
        rows, few_rows = [_reads(stores, name).rows / UPLOADS / (ROUNDS + 1) for name in ("many", "few")]
        settings = stores.settings("many")
        with (
            serving(stores, settings, PROCFILE["web"]) as port,
            running(stores, settings, {"sweeper": PROCFILE["sweeper"]}),
        ):
            for learner in range(1, 1 + LIVE_LEARNERS):
                _study(port, learner)
        scanned = _reads(stores, "many").scanned
        for name in ("few", "many"):
            with stores.engine(name) as engine:
                check_replayed(engine)
    sides = f"{many:,} attempts in the table ÷ with {FEW:,}"
    scans = " ".join(["tables that replays, the live side or the sweeper scan:", *scanned])
    return [
        ratio("P5", f"replay with {sides}", mine, theirs, "≤ 1.1"),
        ratio("P5 rows", f"rows that a replay reads with {sides}", [rows], [few_rows], "≤ 1.1"),
        Figure("P5 scans", scans, (len(scanned),), target="0"),
        _void(stores),
        Figure("replay/many", f"replay with {many:,} attempts", mine, "ms"),
        Figure("replay/few", f"replay with {FEW:,} attempts", theirs, "ms"),
    ]


def _fill(stores: Stores, database: str, attempts: int, size: Size) -> None:
    bound = size._asdict() | {"attempts": attempts, "topics": TOPICS, "scheduler": SCHEDULER}
    with stores.engine(database) as engine:
        with engine.begin() as connection:
            make_catalog(connection, size.learners, size.questions)
            for sql in _PAST:
                statement = text(sql)
                connection.execute(statement, {name: bound[name] for name in statement.compile().params})
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("VACUUM ANALYZE"))  # or autovacuum would start during a measurement
    with psycopg.connect(libpq(stores.url(database)), autocommit=True) as connection:
        connection.execute("SELECT pg_stat_reset()")


def _cost(engine: Engine, number: int) -> float:
    """Return the mean milliseconds of a replay, over learners from all parts of the table."""
    first = 1 + number * UPLOADS
    with engine.begin() as connection:
        uploads = make_uploads(connection, range(first, first + UPLOADS), [1])
    start = time.perf_counter()
    replay_all(engine, uploads)
    return (time.perf_counter() - start) * 1000 / len(uploads)


def _void(stores: Stores) -> Figure:
    """Void sessions of one question each: only that question is folded again."""
    costs = []
    with stores.database("void"), stores.engine("void") as engine:
        _fill(stores, "void", VOID_ATTEMPTS, Size(1, VOID_QUESTIONS, 1))
        with engine.begin() as connection:
            uploads = connection.execute(_SOME_UPLOADS, {"limit": VOIDED}).scalars().all()
        for upload in uploads:
            start = time.process_time()
            with engine.begin() as connection:
                void_upload(connection, upload, reason="benchmark")
            costs.append((time.process_time() - start) * 1000)
    what = f"CPU of voiding one answer of a learner with {VOID_ATTEMPTS:,}"
    return Figure("P5 void", what, tuple(costs[1:]), "ms", "< 20")  # the first warms up


def _study(port: int, learner: int) -> None:
    """Use every route of the live side: a session, its voiding, and all lists."""
    with httpx.Client(
        base_url=f"http://{LOOPBACK}:{port}/study/users/{learner}",
        headers={"Authorization": f"Bearer {STUDY_TOKEN}"},
        trust_env=False,
    ) as client:
        topic = learner * TOPICS
        session = client.post("/sessions", json={"study_topic_id": topic}).raise_for_status().json()
        path = f"/sessions/{session['session_id']}"
        for question in session["questions"][:ANSWERS]:
            answer = {"pub_id": question["pub_id"], "selected": 0, "unsure": False}
            client.post(f"{path}/attempts", json=answer).raise_for_status()
        for action in ("POST /finalize", "DELETE ", "POST /unvoid", "GET "):
            method, _, suffix = action.partition(" ")
            client.request(method, path + suffix).raise_for_status()
        for listed in ("/reviews", "/sessions", "/wrong-notes", f"/topics/{topic}/weak-areas"):
            client.get(listed).raise_for_status()


class Reads(NamedTuple):
    """What Postgres has counted in a database since it was filled."""

    rows: int
    scanned: list[str]


def _reads(stores: Stores, database: str) -> Reads:
    # In a new connection: each earlier one has reported its reads when it ended.
    with psycopg.connect(libpq(stores.url(database))) as connection:
        tables = connection.execute(_READS).fetchall()
    return Reads(sum(rows for _, rows, _ in tables), [name for name, _, scans in tables if scans])
