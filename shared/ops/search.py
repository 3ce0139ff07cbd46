"""Find uploads for an operator.

Uploads are recorded and replayed almost as fast as without the indexes that a search uses.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from shared.payload import SPACES, normal_id
from shared.uploads import Status


class Listed(NamedTuple):
    """An upload in a list; `attempts`: how many, None if its payload was deleted."""

    client_session_uuid: UUID
    status: str
    received_at: datetime
    finalized_at: datetime | None
    tries: int
    next_try_at: datetime
    user_id: int | None
    attempts: int | None
    reason: str | None
    last_error: str | None


class Position(NamedTuple):
    """The last upload of a page: the next page begins after it, even if more uploads arrive."""

    received_at: datetime
    client_session_uuid: UUID


@dataclass(frozen=True, slots=True)
class Search:
    """What an operator looks for; every condition that is set must hold.

    `question`: a public id; an ingested upload matches if it has a graded attempt at any edition of the
    question, any other upload matches if this id was sent. `error`: a part of the last error or the reason,
    in upper or lower case. `purged`: whether the payload was deleted. `skipped`: only ingested uploads that
    have skipped attempts, still have their payload, and are not voided; then `question` is the public id of a
    skipped attempt. No index has the fates of attempts: a search with `skipped` reads all uploads that match
    `learner`, `older_than` and `newer_than`.
    """

    status: Status | None = None
    older_than: timedelta | None = None
    learner: int | None = None
    question: str | None = None
    error: str | None = None
    limit: int | None = 50
    after: Position | None = None
    purged: bool | None = None
    newer_than: timedelta | None = None
    skipped: bool = False


# The waiting and the failed uploads, each by their partial index.
_NOT_INGESTED = """
    SELECT client_session_uuid, payload, last_error, reason, learner_id FROM uploads
    WHERE status = 'received'
    UNION ALL
    SELECT client_session_uuid, payload, last_error, reason, learner_id FROM uploads
    WHERE status IN ('rejected', 'dead')
"""
# The public id of each attempt in these uploads.
_SENT = f"""
    SELECT client_session_uuid, normalize(btrim(attempt ->> 'pub_id', :spaces)) AS pub_id
    FROM ({_NOT_INGESTED}) AS upload, jsonb_array_elements(payload -> 'attempts') AS attempt
"""  # noqa: S608  # made of the constant above
# A learner's uploads. Uploads that are not ingested are found by `learner_id`, or by the owner of their
# questions, in one join for all uploads: a join for each upload takes seconds with a large catalog. ARRAY
# makes the planner expect few uuids and use the primary key.
_OF_LEARNER = f"""
    (user_id = :learner OR client_session_uuid = ANY (ARRAY(
        SELECT client_session_uuid FROM ({_SENT}) AS sent WHERE pub_id IN (
            SELECT i.pub_id FROM study_topics t
            JOIN study_questions q ON q.study_topic_id = t.id AND q.user_id = t.user_id
            JOIN published_items i ON i.source_id = q.id
            WHERE t.user_id = :learner)
        UNION SELECT client_session_uuid FROM ({_NOT_INGESTED}) AS sent WHERE learner_id = :learner)))
"""  # noqa: S608  # as above
# The uploads that name a question: ingested ones by their attempts, others by their payload.
_WITH_QUESTION = f"""
    client_session_uuid IN (
        SELECT CAST(s.client_session_uuid AS uuid) FROM published_items i
        JOIN study_question_attempts a ON a.study_question_id = i.source_id
        JOIN study_quiz_sessions s ON s.user_id = a.user_id AND s.id = a.study_quiz_session_id
        WHERE i.pub_id = :question AND s.client_session_uuid IS NOT NULL
        UNION SELECT client_session_uuid FROM ({_SENT}) AS sent WHERE pub_id = :question)
"""  # noqa: S608  # as above
# Voided uploads are left out: they cannot be replayed again.
_WITH_SKIPPED = """
    status = 'ingested' AND payload IS NOT NULL AND NOT EXISTS (SELECT FROM study_quiz_sessions s
        WHERE s.client_session_uuid = CAST(uploads.client_session_uuid AS text)
            AND s.superseded_at IS NULL AND s.voided_at IS NOT NULL)
    AND result -> 'attempts' @> jsonb_build_array(
        jsonb_strip_nulls(jsonb_build_object('status', 'skipped', 'pub_id', CAST(:question AS text))))
"""
_FAILING_WITH = f"""
    client_session_uuid IN (
        SELECT client_session_uuid FROM ({_NOT_INGESTED}) AS upload
        WHERE position(lower(:error) IN lower(last_error)) > 0
            OR position(lower(:error) IN lower(reason)) > 0)
"""  # noqa: S608  # as above

# `received_at` has only a BRIN index, which gives no order: to list the newest of millions, search the last
# hour, day and month first.
_LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=30))
_RECENT = """
    received_at >= coalesce(CAST(:last_at AS timestamptz), now() - CAST(:older_than AS interval), now())
        - CAST(:back AS interval)
"""


def search(connection: Connection, wanted: Search) -> list[Listed]:
    """Find uploads, the newest first; a search for the status `received` lists the oldest first."""
    conditions = list(_conditions(wanted))
    question = None if wanted.skipped else wanted.question
    by_index = wanted.status not in (None, Status.INGESTED) or any(
        each is not None for each in (wanted.learner, question, wanted.error)
    )
    if wanted.limit is not None and not by_index:
        for back in _LOOK_BACK:
            recent = _list(connection, wanted, [*conditions, _RECENT], back)
            if len(recent) == wanted.limit:
                return recent
    return _list(connection, wanted, conditions)


def _list(
    connection: Connection, wanted: Search, conditions: Iterable[str], back: timedelta | None = None
) -> list[Listed]:
    direction = "ASC" if wanted.status is Status.RECEIVED else "DESC"
    statement = text(f"""
        SELECT client_session_uuid, status, received_at, finalized_at, tries, next_try_at, user_id,
            jsonb_array_length(payload -> 'attempts') AS attempts, reason, last_error
        FROM uploads WHERE {" AND ".join(["TRUE", *conditions])}
        ORDER BY received_at {direction}, client_session_uuid LIMIT :limit
    """)  # noqa: S608  # made of the constants above
    last_at, last_uuid = wanted.after or (None, None)
    bound: dict[str, Any] = {
        "older_than": wanted.older_than,
        "newer_than": wanted.newer_than,
        "last_at": last_at,
        "last_uuid": last_uuid,
        "learner": wanted.learner,
        "question": wanted.question and normal_id(wanted.question),
        "error": wanted.error,
        "spaces": SPACES,
        "limit": wanted.limit,
        "back": back,
    }
    return [Listed(*row) for row in connection.execute(statement, bound)]


def _conditions(wanted: Search) -> Iterator[str]:
    if wanted.status is not None:
        yield f"status = '{wanted.status}'"  # in the SQL: with a parameter, no partial index is used
    if wanted.older_than is not None:
        yield "received_at < now() - :older_than"
    if wanted.newer_than is not None:
        yield "received_at > now() - :newer_than"
    if wanted.after is not None:
        # The first condition is for the index; the second leaves out uploads that were listed already.
        yield f"received_at {'>=' if wanted.status is Status.RECEIVED else '<='} :last_at"
        yield "(received_at <> :last_at OR client_session_uuid > :last_uuid)"
    if wanted.learner is not None:
        yield _OF_LEARNER
    if wanted.skipped:
        yield _WITH_SKIPPED
    elif wanted.question is not None:
        yield _WITH_QUESTION
    if wanted.error is not None:
        yield _FAILING_WITH
    if wanted.purged is not None:
        yield f"payload IS {'NULL' if wanted.purged else 'NOT NULL'}"
