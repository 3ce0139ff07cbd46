"""P3: the CPU of the worker itself for one replay, compared with a replay written by hand."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import psycopg
from sqlalchemy import Engine, text

from benchmarks.figures import Figure, ratio
from benchmarks.peers import by_hand
from benchmarks.servers import Stores, libpq
from benchmarks.workload import ATTEMPTS, make_catalog, make_uploads, replay_all
from shared.broker import MESSAGE_SIZE

LEARNERS = 20  # on each side
UPLOADS = 5  # of each learner in one round
ROUNDS, QUICK_ROUNDS = 9, 5
PRACTICE = 5  # attempts of an upload that are practice

# The rows of both sides, without ids.
_ROWS = text("""
    SELECT (SELECT jsonb_agg(to_jsonb(p) - '{user_id,study_question_id,updated_at,changed_xid}'::text[]
                ORDER BY user_id, study_question_id)
            FROM study_question_progress p WHERE user_id BETWEEN :first AND :last),
        (SELECT jsonb_agg(to_jsonb(s) - '{id,user_id,study_topic_id,client_session_uuid,question_ids,
                created_at,updated_at,finalized_at}'::text[]
                ORDER BY user_id, finished_at, study_topic_id)
            FROM study_quiz_sessions s WHERE user_id BETWEEN :first AND :last),
        (SELECT jsonb_agg(to_jsonb(a) - '{user_id,study_quiz_session_id,study_question_id}'::text[]
                || jsonb_build_object('pub_id', split_part(pub_id, '-', 3))
                ORDER BY study_question_id, answered_at)
            FROM study_question_attempts a WHERE user_id BETWEEN :first AND :last),
        (SELECT jsonb_object_agg(kind, messages) FROM (
            SELECT kind, count(*) AS messages FROM outbox
            WHERE user_id BETWEEN :first AND :last AND status = 'waiting' GROUP BY kind) of_kind),
        (SELECT jsonb_agg(jsonb_build_array(status, reason, jsonb_array_length(result->'topics'),
                jsonb_array_length(result->'attempts'), jsonb_path_query_array(result, '$.questions[*].due'))
                ORDER BY user_id, payload->'attempts'->0->>'answered_at')
            FROM uploads WHERE user_id BETWEEN :first AND :last)
""")


class UnequalError(Exception):
    """The two sides did not do the same work."""


def measure(stores: Stores, *, quick: bool) -> list[Figure]:
    """Replay uploads of equal content on both sides in turn, in this one process."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    return [
        *_compare(stores, "P3", range(ATTEMPTS), rounds),
        *_compare(stores, "P3 practice", [*range(ATTEMPTS - PRACTICE), *range(PRACTICE)], rounds),
        *_compare(stores, "P3 together", range(ATTEMPTS), rounds, together=MESSAGE_SIZE),
    ]


def _compare(
    stores: Stores, name: str, asked: Sequence[int], rounds: int, *, together: int = 1
) -> list[Figure]:
    times: list[tuple[float, float]] = []
    with (
        stores.database("cpu") as database,
        stores.engine(database) as engine,
        psycopg.connect(libpq(stores.url(database)), autocommit=True) as by_hand_connection,
    ):

        def hand(uploads: Sequence[UUID]) -> None:
            for upload in uploads:
                by_hand.replay(by_hand_connection, upload, datetime.now(UTC))

        with engine.begin() as connection:
            make_catalog(connection, 2 * LEARNERS)
        for number in range(rounds + 1):
            numbers = range(number * UPLOADS, (number + 1) * UPLOADS)
            with engine.begin() as connection:
                mine, theirs = [
                    make_uploads(connection, range(first, first + LEARNERS), numbers, asked=asked)
                    for first in (1, 1 + LEARNERS)
                ]
            times.append((_cpu(partial(replay_all, engine, together=together), mine), _cpu(hand, theirs)))
            _check_equal(engine)
    mine_ms, theirs_ms = zip(*times[1:], strict=True)  # the first round warms both sides up
    repeated = len(asked) - len(set(asked))
    note = f", {repeated} of {len(asked)} attempts practice" if repeated else ""
    beside = note
    if together > 1:
        note += f", {together} uploads in one transaction"
    what = f"CPU of a replay in the worker{note}"
    return [
        ratio(name, f"{what} ÷ written by hand", mine_ms, theirs_ms, "≤ 1.3"),
        Figure(f"{name} ours", what, mine_ms, "ms"),
        Figure(f"{name} by hand", f"CPU of a replay written by hand{beside}", theirs_ms, "ms"),
    ]


def _cpu(work: Callable[[Sequence[UUID]], None], uploads: Sequence[UUID]) -> float:
    """Return the milliseconds of CPU that this process needs for one upload."""
    start = time.process_time()
    work(uploads)
    return (time.process_time() - start) * 1000 / len(uploads)


def _check_equal(engine: Engine) -> None:
    """Raise UnequalError unless the rows of both sides are equal."""
    with engine.connect() as connection:
        bound = [{"first": first, "last": first + LEARNERS - 1} for first in (1, LEARNERS + 1)]
        rows = [connection.execute(_ROWS, each).one() for each in bound]
    if unequal := [column for column, (a, b) in enumerate(zip(*rows, strict=True)) if a != b]:
        raise UnequalError(f"the rows of the two sides differ in columns {unequal} of _ROWS")
