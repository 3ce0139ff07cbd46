"""P5: what a replay costs with millions of attempts in the table, beside one with few."""

import time
from datetime import UTC, datetime

from sqlalchemy import Engine, text

from benchmarks.figures import Figure, ratio
from benchmarks.servers import Stores
from benchmarks.workload import ATTEMPTS, QUESTIONS, TOPICS, check_replayed, make_catalog, make_uploads
from shared.replay import replay
from shared.study.scheduling import SCHEDULER

LEARNERS = 2000  # the same on both sides
FEW, MANY, QUICK_MANY = 50_000, 5_000_000, 500_000
ROUNDS, UPLOADS = 7, 100

# Rows of the right number and size; fsrs would have other values. Learner by learner, so that every index
# grows at one place. Foreign keys are not checked: every row is made from its parent.
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
    INSERT INTO study_question_attempts (study_quiz_session_id, study_question_id, ordinal, selected, unsure,
        outcome, rating, counted, answered_at, answered_at_raw, clock_adjusted)
    SELECT s.id, s.user_id * :questions + (s.id * 10 + i) % :questions, i, 0, FALSE, 'correct', 3, TRUE,
        s.finished_at, s.finished_at, FALSE
    FROM study_quiz_sessions s, generate_series(0, :length - 1) i
    """,
    """
    INSERT INTO study_question_progress (user_id, study_question_id, stability, difficulty, due,
        last_reviewed_at, reviews, misses, corrects, miss_streak, correct_streak, wrong_note, scheduler,
        time_zone)
    SELECT q.user_id, q.id, 10, 5, '2024-06-01', '2024-05-01Z', 9, 0, 9, 0, 9, 'none', :scheduler, 'UTC'
    FROM study_questions q
    """,
]


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Replay equal uploads in both databases in turn."""
    many = QUICK_MANY if quick else MANY
    with (
        stores.database("few"),
        stores.database("many"),
        stores.engine("few") as beside,
        stores.engine("many") as ours,
    ):
        _fill(beside, FEW)
        _fill(ours, many)
        stores.administer("CHECKPOINT")
        pairs = [(_cost(ours, number), _cost(beside, number)) for number in range(ROUNDS + 1)]
        check_replayed(ours)
        check_replayed(beside)
    mine, theirs = zip(*pairs[1:], strict=True)  # the first round warms both sides up
    return [
        ratio("P5", f"replay with {many:,} attempts in the table ÷ with {FEW:,}", mine, theirs, "≤ 1.2"),
        Figure("replay/many", f"replay with {many:,} attempts", mine, "ms"),
        Figure("replay/few", f"replay with {FEW:,} attempts", theirs, "ms"),
    ]


def _fill(engine: Engine, attempts: int) -> None:
    sizes = {"learners": LEARNERS, "topics": TOPICS, "questions": QUESTIONS, "length": ATTEMPTS}
    bound = sizes | {"attempts": attempts, "scheduler": SCHEDULER}
    with engine.begin() as connection:
        make_catalog(connection, LEARNERS)
        for sql in _PAST:
            statement = text(sql)
            connection.execute(statement, {name: bound[name] for name in statement.compile().params})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))  # or autovacuum would come in the middle of it


def _cost(engine: Engine, number: int) -> float:
    """Return the milliseconds that one replay takes, of learners all over the table."""
    first = 1 + number * UPLOADS
    with engine.begin() as connection:
        uploads = make_uploads(connection, range(first, first + UPLOADS), [1])
    start = time.perf_counter()
    for upload in uploads:
        with engine.begin() as connection:
            replay(connection, upload, now=datetime.now(UTC), default_zone="UTC")
    return (time.perf_counter() - start) * 1000 / len(uploads)
