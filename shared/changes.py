"""The changes of progress, for a document server that keeps a copy of it.

A reader names the transaction up to which it knows all changes. It gets the changes of later transactions, up
to the oldest one that is still running. So none is missed, however long a transaction runs.
"""

import re
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, text

from shared import db
from shared.errors import UnknownCursorError
from shared.live.forms import BIGINT
from shared.study.store import SHOWN

_FORM = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19})-([0-9]{1,19}))?")


class Cursor(NamedTuple):
    """What a reader knows: the changes of every transaction before `since`.

    While it reads on to `until`, it also knows the changes of the learners up to `user_id`.
    """

    since: int = 0
    until: int | None = None
    user_id: int = -1

    @classmethod
    def read(cls, written: str) -> Self:
        """Read a cursor as `str` writes it; an empty one knows nothing. Raise ValueError for others."""
        if not written:
            return cls()
        form = _FORM.fullmatch(written)
        numbers = [int(each) for each in form.groups() if each] if form else []
        if not numbers or max(numbers) >= BIGINT:
            raise ValueError(written)
        return cls(*numbers)

    def __str__(self) -> str:
        return str(self.since) if self.until is None else f"{self.since}-{self.until}-{self.user_id}"


class Changes(NamedTuple):
    """Learners with their changed progress, and the next cursor; `more`: further changes can be read at once.

    `complete`: these are all questions of the learner, and the reader deletes any others.
    """

    learners: list[dict[str, Any]]
    next: Cursor
    more: bool


_SNAPSHOT = text("""
    SELECT CAST(CAST(pg_snapshot_xmin(now) AS text) AS bigint) AS oldest_running,
        CAST(CAST(pg_snapshot_xmax(now) AS text) AS bigint) AS not_begun
    FROM pg_current_snapshot() AS now
""")

# Also learners that changed again after :until: their changes before it are returned now.
_LEARNERS = text("""
    SELECT user_id, whole_xid >= CAST(:since AS xid8) AND whole_xid < CAST(:until AS xid8) AS complete
    FROM learner_changes WHERE changed_xid >= CAST(:since AS xid8) AND user_id > :user_id
    ORDER BY user_id LIMIT :limit
""")

_QUESTIONS = text(f"""
    SELECT p.study_question_id AS question_id, {SHOWN}
    FROM study_question_progress p
    WHERE p.user_id = :user_id
        AND (:complete OR p.changed_xid >= CAST(:since AS xid8) AND p.changed_xid < CAST(:until AS xid8))
    ORDER BY p.study_question_id
""")  # noqa: S608  # made of the constant above


def read_changes(connection: Connection, cursor: Cursor, *, limit: int) -> Changes:
    """Return what has changed since the cursor, of at most `limit` learners.

    A question may come twice. Raise UnknownCursorError for a cursor of another database, or of this one
    before it was restored.
    """
    ((oldest_running, not_begun),) = db.execute(connection, _SNAPSHOT)
    if max(cursor.since, cursor.until or 0) > not_begun:
        raise UnknownCursorError("the cursor is not from this database: read again without one")
    until = cursor.until or oldest_running
    if until <= cursor.since:
        return Changes([], cursor, more=False)
    window = {"since": str(cursor.since), "until": str(until)}
    found = db.execute(connection, _LEARNERS, window | {"user_id": cursor.user_id, "limit": limit}).fetchall()
    learners = []
    for user_id, complete in found:
        rows = db.execute(connection, _QUESTIONS, window | {"user_id": user_id, "complete": complete})
        questions = [row._asdict() for row in rows]
        if questions or complete:
            learners.append({"user_id": user_id, "complete": complete, "questions": questions})
    if len(found) < limit:
        return Changes(learners, Cursor(until), more=False)
    return Changes(learners, Cursor(cursor.since, until, found[-1].user_id), more=True)
