"""What late attempts leave in the log: sessions of the upload that stand already gain them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from shared.late_attempts import LoggedAttempt

_LOGGED = text("""
    SELECT a.ordinal, a.study_quiz_session_id, a.study_question_id, a.answered_at_raw, a.counted
    FROM study_question_attempts a JOIN study_quiz_sessions s ON s.id = a.study_quiz_session_id
    WHERE s.client_session_uuid = :client_session_uuid AND s.superseded_at IS NULL ORDER BY a.ordinal
""")

_DEMOTE = text("""
    UPDATE study_question_attempts a SET counted = FALSE
    FROM unnest(CAST(:session_ids AS bigint[]), CAST(:ordinals AS int[])) AS demoted (session_id, place)
    WHERE a.study_quiz_session_id = session_id AND a.ordinal = place
""")

# As a replay writes them: the counted questions in their order, and the upload's end or the last answer's.
_EXTEND = text("""
    UPDATE study_quiz_sessions s SET
        question_ids = coalesce((SELECT jsonb_agg(a.study_question_id ORDER BY a.ordinal)
            FROM study_question_attempts a WHERE a.study_quiz_session_id = s.id AND a.counted), '[]'),
        cursor = (SELECT count(*)
            FROM study_question_attempts a WHERE a.study_quiz_session_id = s.id AND a.counted),
        subject_distribution = coalesce((SELECT jsonb_object_agg(subject, times) FROM (
            SELECT q.subject, count(*) AS times
            FROM study_question_attempts a JOIN study_questions q ON q.id = a.study_question_id
            WHERE a.study_quiz_session_id = s.id AND a.counted GROUP BY q.subject) AS subjects), '{}'),
        finished_at = coalesce(CAST(:finished_at AS timestamptz), (SELECT max(a.answered_at)
            FROM study_question_attempts a WHERE a.study_quiz_session_id = s.id))
    WHERE s.id = ANY(CAST(:session_ids AS bigint[]))
""")

# Finalize asks for a session's follow-ups but once: what was told already does not know of the late answers.
_ASK_ANEW = text("""
    DELETE FROM study_followups
    WHERE study_quiz_session_id = ANY(CAST(:session_ids AS bigint[])) AND status <> 'waiting'
""")


def logged_attempts(connection: Connection, client_session_uuid: UUID) -> list[LoggedAttempt]:
    """Return what of an upload is in the log, in the order as sent."""
    rows = connection.execute(_LOGGED, {"client_session_uuid": str(client_session_uuid)})
    return [LoggedAttempt(*row) for row in rows]


def demote(connection: Connection, demoted: Sequence[LoggedAttempt]) -> None:
    """Let logged attempts count no more."""
    if demoted:
        bound = {
            "session_ids": [each.session_id for each in demoted],
            "ordinals": [each.ordinal for each in demoted],
        }
        connection.execute(_DEMOTE, bound)


def extend_sessions(connection: Connection, session_ids: Sequence[int], finished_at: datetime | None) -> None:
    """Bring sessions whose attempts changed to what they would be had they had them from the start.

    The caller finalizes them again, follow-ups included.
    """
    if session_ids:
        connection.execute(_EXTEND, {"session_ids": session_ids, "finished_at": finished_at})
        connection.execute(_ASK_ANEW, {"session_ids": session_ids})
