"""Export or delete all data of a learner, including the answers in uploads."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from redis import Redis
from sqlalchemy import Connection, text

from shared import spool
from shared.db import catalog_is_ours, execute, scalars
from shared.errors import OvertakenError
from shared.payload import SPACES
from shared.study.store import lock_learner, mark_whole

# The public ids that a payload names, as the catalog writes them.
_NAMED = "jsonb_path_query(payload, '$.attempts[*].pub_id') AS named"
_PUB_ID = "normalize(btrim(named #>> '{}', :spaces))"

# A replay that finds exactly one owner sets an upload's `user_id`. An upload that is not ingested belongs to
# the learner in `learner_id`, whatever it names. An upload that has neither belongs to the learners whose
# questions it names, as long as the catalog has these questions.
_THEIRS = f"""
    SELECT client_session_uuid FROM uploads
    WHERE user_id = :user_id AND (status = 'ingested' OR coalesce(learner_id, :user_id) = :user_id)
    UNION ALL
    SELECT client_session_uuid FROM uploads
    WHERE (status = 'received' OR status IN ('rejected', 'dead')) AND (learner_id = :user_id
            OR user_id IS NULL AND learner_id IS NULL AND EXISTS (
                SELECT FROM {_NAMED}
                WHERE {_PUB_ID} = ANY(CAST(:pub_ids AS text[]))))
"""  # noqa: S608  # made of the constants above

_UPLOADS = text(_THEIRS)

# Conflicts belong to learners in the same way as uploads in _THEIRS. But if the catalog has none of the
# questions that a conflict of a trusted sender names, the conflict belongs to the learner of its upload.
_THEIR_CONFLICTS = f"""
    :user_id IN (user_id, learner_id) OR user_id IS NULL AND learner_id IS NULL AND (
        EXISTS (SELECT FROM {_NAMED}
            WHERE {_PUB_ID} = ANY(CAST(:pub_ids AS text[])))
        OR client_session_uuid = ANY(CAST(:uploads AS uuid[]))
            AND NOT EXISTS (SELECT FROM {_NAMED}
                JOIN published_items i ON i.pub_id = {_PUB_ID}))
"""  # noqa: S608  # as above

# Uploads are locked in the order of their ids, and before the learner, as in a replay. Uploads with one of
# the learner's conflicts are locked, too: an operator may be accepting such a conflict, which makes it
# the upload's content.
_OF_CONFLICTS = f"SELECT client_session_uuid FROM upload_conflicts WHERE {_THEIR_CONFLICTS}"  # noqa: S608  # as above
_UPLOADS_OF_CONFLICTS = text(_OF_CONFLICTS)
_LOCK_UPLOADS = text(f"""
    SELECT client_session_uuid FROM uploads WHERE client_session_uuid IN ({_THEIRS} UNION ALL {_OF_CONFLICTS})
    ORDER BY client_session_uuid FOR NO KEY UPDATE
""")  # noqa: S608  # made of the constants above

_BLANK_CONFLICTS = text(f"""
    UPDATE upload_conflicts SET payload = NULL, blanked = true WHERE NOT blanked AND ({_THEIR_CONFLICTS})
""")  # noqa: S608  # as above

# A waiting upload is rejected, as it cannot be replayed without its payload.
_BLANK_UPLOADS = text("""
    WITH blanked AS (
        UPDATE uploads SET payload = NULL, result = NULL, blanked = true, user_id = :user_id,
            status = CASE WHEN status = 'received' THEN 'rejected' ELSE status END,
            reason = CASE WHEN status = 'received' THEN 'learner_deleted' ELSE reason END,
            finalized_at = coalesce(finalized_at, now())
        WHERE client_session_uuid = ANY(CAST(:uploads AS uuid[])) AND NOT blanked
        RETURNING client_session_uuid)
    INSERT INTO upload_events (client_session_uuid, kind, detail)
    SELECT client_session_uuid, 'purged', 'the learner was deleted' FROM blanked
""")

_COUNT = text("""
    SELECT (SELECT count(*) FROM study_quiz_sessions WHERE user_id = :user_id) AS sessions,
        (SELECT count(*) FROM study_question_attempts WHERE user_id = :user_id) AS attempts,
        (SELECT count(*) FROM study_question_progress WHERE user_id = :user_id) AS progress
""")

# Where the catalog is a document server's, no foreign key deletes these rows with the learner.
_DELETE_SESSIONS = text("DELETE FROM study_quiz_sessions WHERE user_id = :user_id")
_DELETE_PROGRESS = text("DELETE FROM study_question_progress WHERE user_id = :user_id")
_DELETE = text("DELETE FROM users WHERE id = :user_id")

# A forced load may have moved questions of other learners to this one: what these learners answered, or are
# being asked, would be deleted with the questions. The topic of a session belongs to the session's learner.
# A learner who is not found here cannot answer the questions either, so no other learner is locked.
_OF_OTHERS = """
    SELECT DISTINCT ON (id) * FROM (
        SELECT moved.id, s.user_id, s.study_topic_id, a.answered_at
        FROM study_questions moved
        JOIN study_question_attempts a ON a.study_question_id = moved.id AND a.user_id <> moved.user_id
        JOIN study_quiz_sessions s ON s.user_id = a.user_id AND s.id = a.study_quiz_session_id
        WHERE moved.study_topic_id IN (SELECT id FROM study_topics WHERE user_id = :user_id)
        UNION ALL
        SELECT moved.id, s.user_id, s.study_topic_id, NULL
        FROM study_questions moved
        JOIN study_quiz_sessions s ON s.status = 'in_progress' AND s.question_ids @> to_jsonb(moved.id)
            AND s.user_id <> moved.user_id
        WHERE moved.study_topic_id IN (SELECT id FROM study_topics WHERE user_id = :user_id)
    ) AS known ORDER BY id, answered_at DESC NULLS LAST, user_id, study_topic_id
"""
_HAND_BACK = text(f"""
    UPDATE study_questions q SET user_id = last.user_id, study_topic_id = last.study_topic_id,
        retired_at = least(q.retired_at, now())
    FROM ({_OF_OTHERS}) AS last WHERE q.id = last.id
""")  # noqa: S608  # made of the constant above

# The public ids of a learner's questions; if `without_others`, only of those that are not handed back.
_PUB_IDS = text(f"""
    SELECT i.pub_id FROM study_questions q JOIN published_items i ON i.source_id = q.id
    WHERE q.study_topic_id IN (SELECT id FROM study_topics WHERE user_id = :user_id)
        AND NOT (:without_others AND q.id IN (SELECT id FROM ({_OF_OTHERS}) AS last))
    ORDER BY i.pub_id
""")  # noqa: S608  # as above

# An insert of a topic locks its learner, one of a question its topic, one of an edition its question. So a
# deletion waits for a load that inserts them, and then reads the learner's questions again: it finds payloads
# that name a new one, too.
_LOCK_USER = text("SELECT FROM users WHERE id = :user_id FOR UPDATE")
_LOCK_TOPICS = text("SELECT FROM study_topics WHERE user_id = :user_id ORDER BY id FOR UPDATE")
_LOCK_QUESTIONS = text("""
    SELECT FROM study_questions q
    WHERE q.study_topic_id IN (SELECT id FROM study_topics WHERE user_id = :user_id) ORDER BY id FOR UPDATE
""")
_LOCK_EDITIONS = text("""
    SELECT FROM published_items i
    WHERE i.source_id IN (SELECT q.id FROM study_questions q JOIN study_topics t ON t.id = q.study_topic_id
        WHERE t.user_id = :user_id) ORDER BY i.pub_id FOR UPDATE
""")

# Two deletions might hand questions back to each other's topics, each waiting for the other one.
_ONE_DELETION = text("SELECT pg_advisory_xact_lock(7319400454)")

# How often a deletion begins at most: it begins again if the learner's questions or uploads changed while it
# waited for a lock.
TRIES = 5


class Deleted(NamedTuple):
    """How many rows and spool entries were deleted, and how many uploads and conflicts were blanked."""

    sessions: int
    attempts: int
    progress: int
    uploads: int
    conflicts: int
    spooled: int


def delete_learner(connection: Connection, user_id: int, redis: Redis | None = None) -> Deleted:
    """Delete a learner and all their data; return how many rows and payloads were deleted.

    Where the catalog is a document server's, the learner's row and questions are the server's, and stay.
    Where it is ours, a question that other learners have answered, or are being asked, is retired and handed
    back: to the learner who answered it last, into the topic of that learner's session.

    The rows of the learner's uploads stay, so that a repeated delivery is recognised; payloads and results
    are deleted, and not stored again. If the learner's own row was deleted before, their ingested uploads are
    still blanked, but an upload that is not ingested might no longer be found by its questions. `redis`: the
    spool, if there is one; the learner's entries are deleted even if the transaction is rolled back.
    """
    is_ours = catalog_is_ours(connection)
    pub_ids, uploads = _lock_what_is_theirs(connection, user_id, is_ours=is_ours)
    bound = {"user_id": user_id, "pub_ids": pub_ids, "spaces": SPACES}
    ((sessions, attempts, progress),) = execute(connection, _COUNT, bound)
    # Once an upload is changed, other content waits for this transaction, and is no conflict of its own.
    blanked = execute(connection, _BLANK_UPLOADS, bound | {"uploads": uploads}).rowcount
    conflicts = execute(connection, _BLANK_CONFLICTS, bound | {"uploads": uploads}).rowcount
    execute(connection, _DELETE_SESSIONS, bound)
    execute(connection, _DELETE_PROGRESS, bound)
    if is_ours:
        execute(connection, _DELETE, bound)
    mark_whole(connection, user_id)
    spooled = spool.remove(redis, user_id, set(pub_ids)) if redis else 0
    return Deleted(sessions, attempts, progress, blanked, conflicts, spooled)


def _lock_what_is_theirs(
    connection: Connection, user_id: int, *, is_ours: bool
) -> tuple[list[str], list[Any]]:
    """Lock a learner's uploads, the learner and the spool; return (public ids of their questions, uploads).

    Where the catalog is ours, questions of others are handed back, and left out: uploads that name only these
    are not this learner's. The other questions are locked, too. Raises OvertakenError if questions or uploads
    changed again and again while this waited for the locks.
    """
    learner = {"user_id": user_id}
    for _ in range(TRIES):
        attempt = connection.begin_nested()
        pub_ids = scalars(connection, _PUB_IDS, learner | {"without_others": is_ours})
        bound = {"user_id": user_id, "pub_ids": pub_ids, "spaces": SPACES}
        locked = scalars(connection, _LOCK_UPLOADS, bound | {"uploads": []})
        lock_learner(connection, user_id)
        if is_ours:
            execute(connection, _ONE_DELETION)
            execute(connection, _HAND_BACK, learner)
            # Without what is handed back: others may be answering that.
            for statement in (_LOCK_USER, _LOCK_TOPICS, _LOCK_QUESTIONS, _LOCK_EDITIONS):
                execute(connection, statement, learner)
        spool.lock(connection)  # as late as possible: moves of the spool wait for it
        left = scalars(connection, _PUB_IDS, learner | {"without_others": False})
        # While this waited, an upload may have got other content, or a conflict.
        uploads = scalars(connection, _UPLOADS, bound)
        of_conflicts = scalars(connection, _UPLOADS_OF_CONFLICTS, bound | {"uploads": uploads})
        if left == pub_ids and {*locked}.issuperset(uploads + of_conflicts):
            attempt.commit()
            return pub_ids, uploads
        attempt.rollback()  # unlocks all, as uploads are locked before learners, and these before questions
    raise OvertakenError(
        f"learner {user_id} is not deleted, as their data changed during each try: repeat the deletion"
    )


def _own(column: str) -> str:
    """Return SQL for the JSON in a column, without attempts at questions of others than `:user_id`.

    If the row names `:user_id` as its learner, all attempts are kept.
    """
    return f"""CASE WHEN :user_id IN (user_id, learner_id) THEN {column}
    ELSE jsonb_set({column}, '{{attempts}}', (
        SELECT coalesce(jsonb_agg(attempt ORDER BY place), '[]')
        FROM jsonb_array_elements({column} -> 'attempts') WITH ORDINALITY AS attempts (attempt, place)
        WHERE NOT EXISTS (SELECT FROM published_items i JOIN study_questions q ON q.id = i.source_id
            WHERE i.pub_id = normalize(btrim(attempt ->> 'pub_id', :spaces)) AND q.user_id <> :user_id)
    )) END AS {column}"""  # noqa: S608  # made of our own words


# What is known of a learner, by table. Two learners may share a device, and so an upload: `_own` leaves out
# the attempts of others. In JSON, the column of `_own` replaces the stored column of the same name, which
# comes before it.
_EXPORTS = {
    "users": "SELECT * FROM users WHERE id = :user_id",
    "study_topics": "SELECT * FROM study_topics WHERE user_id = :user_id ORDER BY id",
    "study_questions": "SELECT * FROM study_questions WHERE user_id = :user_id ORDER BY id",
    "published_items": """
        SELECT i.* FROM published_items i JOIN study_questions q ON q.id = i.source_id
        WHERE q.user_id = :user_id ORDER BY i.source_id, i.pub_id
    """,
    "study_quiz_sessions": "SELECT * FROM study_quiz_sessions WHERE user_id = :user_id ORDER BY id",
    "study_question_attempts": """
        SELECT * FROM study_question_attempts WHERE user_id = :user_id ORDER BY study_quiz_session_id, ordinal
    """,
    "study_question_progress": """
        SELECT * FROM study_question_progress WHERE user_id = :user_id ORDER BY study_question_id
    """,
    "outbox": "SELECT * FROM outbox WHERE user_id = :user_id ORDER BY created_at, id",
    "uploads": f"""
        SELECT *, {_own("payload")}, {_own("result")} FROM uploads
        WHERE client_session_uuid = ANY(CAST(:uploads AS uuid[])) ORDER BY received_at
    """,  # noqa: S608  # as above
    "upload_conflicts": f"""
        SELECT *, {_own("payload")} FROM upload_conflicts WHERE {_THEIR_CONFLICTS} ORDER BY id
    """,  # noqa: S608  # as above
    "upload_events": """
        SELECT * FROM upload_events WHERE client_session_uuid = ANY(CAST(:uploads AS uuid[])) ORDER BY id
    """,
}
_STATEMENTS = {
    table: text(f"SELECT CAST(to_jsonb(known) AS text) FROM ({rows}) AS known")  # noqa: S608  # as above
    for table, rows in _EXPORTS.items()
}


def export_learner(connection: Connection, user_id: int) -> Iterator[str]:
    """Yield all data of a learner in Postgres: one line of JSON for each row, `{"table": …, "row": {…}}`."""
    pub_ids = scalars(connection, _PUB_IDS, {"user_id": user_id, "without_others": False})
    bound = {"user_id": user_id, "pub_ids": pub_ids, "spaces": SPACES}
    bound["uploads"] = scalars(connection, _UPLOADS, bound)
    for table, statement in _STATEMENTS.items():
        for row in scalars(connection, statement, bound):
            yield f'{{"table": "{table}", "row": {row}}}'
