"""Grade attempts again by the current keys: outcomes, counts, progress, and the results that senders get."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

from sqlalchemy import Connection, text

from shared import db
from shared.attempts import sessions_of_uploads
from shared.editions import CAN_GRADE, NAMES_ONE
from shared.study.finalize import refold
from shared.study.grading import grade

_ATTEMPTS = text(f"""
    SELECT a.user_id, a.study_quiz_session_id AS session_id, a.ordinal, a.study_question_id, a.selected,
        a.unsure, i.correct_choice
    FROM published_items i
    JOIN study_question_attempts a ON a.study_question_id = i.source_id AND a.pub_id = i.pub_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[])) AND {CAN_GRADE} AND {NAMES_ONE.format("a")}
""")  # noqa: S608  # made of constants

_REGRADE = text("""
    UPDATE study_question_attempts a SET outcome = graded.outcome, rating = graded.rating
    FROM json_to_recordset(CAST(:graded AS json))
        AS graded (user_id bigint, session_id bigint, ordinal int, outcome text, rating smallint)
    WHERE a.user_id = graded.user_id AND a.study_quiz_session_id = session_id AND a.ordinal = graded.ordinal
""")

# The four counts of patterns stay: they are history.
_RECOUNT = text("""
    UPDATE study_quiz_sessions s
    SET correct_count = counted.correct, wrong_count = counted.wrong, unsure_count = counted.unsure
    FROM (
        SELECT user_id, study_quiz_session_id,
            count(*) FILTER (WHERE outcome = 'correct') AS correct,
            count(*) FILTER (WHERE outcome = 'wrong') AS wrong,
            count(*) FILTER (WHERE outcome = 'unsure') AS unsure
        FROM study_question_attempts
        WHERE user_id = :user_id AND study_quiz_session_id = ANY(CAST(:session_ids AS bigint[])) AND counted
        GROUP BY user_id, study_quiz_session_id) AS counted
    WHERE s.user_id = counted.user_id AND s.id = counted.study_quiz_session_id AND s.status <> 'in_progress'
""")

_RESULTS = text("""
    SELECT client_session_uuid, result FROM uploads
    WHERE client_session_uuid IN (SELECT CAST(client_session_uuid AS uuid) FROM study_quiz_sessions
            WHERE user_id = :user_id AND id = ANY(CAST(:session_ids AS bigint[])) AND superseded_at IS NULL)
        AND status = 'ingested' AND result IS NOT NULL
    ORDER BY client_session_uuid FOR NO KEY UPDATE
""")

_DUE = text("""
    SELECT i.pub_id, p.due
    FROM study_question_progress p JOIN published_items i ON i.source_id = p.study_question_id
    WHERE p.user_id = :user_id AND p.study_question_id = ANY(CAST(:question_ids AS bigint[]))
""")

_SAVE_RESULT = text("UPDATE uploads SET result = CAST(:result AS jsonb) WHERE client_session_uuid = :id")


def regrade(connection: Connection, pub_ids: Sequence[str]) -> None:
    """Grade the attempts at some editions again, by the current keys; update counts, progress and results.

    The caller has locked the uploads of these attempts first, then their learners.
    """
    attempts = db.execute(connection, _ATTEMPTS, {"pub_ids": pub_ids}).fetchall()
    graded = [
        {"user_id": a.user_id, "session_id": a.session_id, "ordinal": a.ordinal}
        | grade(a.selected, unsure=a.unsure, correct_choice=a.correct_choice)._asdict()
        for a in attempts
    ]
    db.execute(connection, _REGRADE, {"graded": db.as_json(graded)})
    by_learner = defaultdict(list)
    for attempt in attempts:
        by_learner[attempt.user_id].append(attempt)
    for user_id, theirs in sorted(by_learner.items()):
        questions = sorted({attempt.study_question_id for attempt in theirs})
        sessions = sorted({attempt.session_id for attempt in theirs})
        db.execute(connection, _RECOUNT, {"user_id": user_id, "session_ids": sessions})
        refold(connection, user_id, questions)
        due = dict(db.execute(connection, _DUE, {"user_id": user_id, "question_ids": questions}).fetchall())
        for upload, result in db.execute(connection, _RESULTS, {"user_id": user_id, "session_ids": sessions}):
            # A sender gets this result in the receipt.
            topics = [*chain.from_iterable(sessions_of_uploads(connection, [upload]).values())]
            dates = [
                each | {"due": due[each["pub_id"]].isoformat()} if each["pub_id"] in due else each
                for each in result["questions"]
            ]
            updated = result | {"topics": topics, "questions": dates}
            db.execute(connection, _SAVE_RESULT, {"id": upload, "result": db.as_json(updated)})
