"""The changes of progress, for a document server that keeps a copy of it.

A reader sends the number of a transaction: the reader has the changes of all earlier transactions. The
reader gets the changes of this transaction and of later ones, up to the oldest transaction that still runs,
whose changes come later. So no change is missed, however long a transaction runs.
"""

import re
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, text

from shared import db
from shared.errors import ConfigurationError, UnknownCursorError
from shared.live.forms import BIGINT
from shared.study.store import SHOWN

# The limit of questions in a response: about 200 KB of JSON. A learner with more continues in the next
# response.
MAX_QUESTIONS = 1000

_FORM = re.compile(r"([0-9a-f]{8})-([0-9]{1,19})(?:-([0-9]{1,19})-([0-9]{1,19})(?:-([0-9]{1,19}))?)?")


class Cursor(NamedTuple):
    """What a reader has of a database: the changes of every transaction before `since`.

    If the changes since then are too many for one response, they come in several responses, learner by
    learner. Until the last response, `until` is set: the reader also has the changes of the transactions from
    `since` on and before `until`, of all learners up to and including `user_id`. If `question_id` is set, the
    reader has the changes of the learner `user_id` only up to this question.
    """

    database: str | None = None
    since: int = 0
    until: int | None = None
    user_id: int = -1
    question_id: int | None = None

    @classmethod
    def read(cls, written: str) -> Self:
        """Read a cursor that `str` wrote; raise ValueError for any other text.

        An empty text is the cursor of a reader that has nothing yet.
        """
        if not written:
            return cls()
        form = _FORM.fullmatch(written)
        numbers = [int(each) for each in form.groups()[1:] if each] if form else []
        if not form or max(numbers) >= BIGINT:
            raise ValueError(written)
        return cls(form[1], *numbers)

    def __str__(self) -> str:
        way = [] if self.until is None else [self.until, self.user_id]
        part = [] if self.question_id is None else [self.question_id]
        return "-".join(map(str, [self.database, self.since, *way, *part]))


class Changes(NamedTuple):
    """Learners with their changed progress, and the next cursor; `more`: there may be more to read now.

    `complete` on a learner: all their progress follows, not only what changed. So the reader first deletes
    the progress that it has of this learner.
    """

    learners: list[dict[str, Any]]
    next: Cursor
    more: bool


# After a restore or a fail-over, the numbers of transactions are used again. But then at least one of four
# values is new: Postgres' system identifier, its timeline, the oid of the database, or the oid of the table.
# So `database` is a hash of these four.
_SNAPSHOT = text("""
    SELECT left(md5(concat_ws(' ', control.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8),
            (SELECT oid FROM pg_database WHERE datname = current_database()),
            CAST(CAST('learner_changes' AS regclass) AS oid))), 8) AS database,
        CAST(CAST(pg_snapshot_xmin(now) AS text) AS bigint) AS oldest_running,
        CAST(CAST(pg_snapshot_xmax(now) AS text) AS bigint) AS not_begun,
        EXISTS (SELECT FROM learner_changes WHERE changed_xid >= pg_snapshot_xmax(now)) AS from_elsewhere
    FROM pg_current_snapshot() AS now, pg_control_system() AS control
""")

# Also learners whose progress changed again after :until: their changes before :until are returned now.
_LEARNERS = text("""
    SELECT user_id, whole_xid >= CAST(:since AS xid8) AND whole_xid < CAST(:until AS xid8) AS complete
    FROM learner_changes
    WHERE changed_xid >= CAST(:since AS xid8) AND user_id >= :user_id AND (user_id > :user_id OR :continued)
    ORDER BY user_id LIMIT :limit
""")

_QUESTIONS = text(f"""
    SELECT p.study_question_id AS question_id, {SHOWN}
    FROM study_question_progress p
    WHERE p.user_id = :user_id AND p.study_question_id > :after
        AND (:complete OR p.changed_xid >= CAST(:since AS xid8) AND p.changed_xid < CAST(:until AS xid8))
    ORDER BY p.study_question_id LIMIT :limit
""")  # noqa: S608  # made of the constant above

# After a restore from another Postgres, rows may name transactions that have not begun here: then all
# progress of the rows' learners counts as changed.
_RENUMBER = text("""
    UPDATE learner_changes SET changed_xid = pg_current_xact_id(), whole_xid = pg_current_xact_id()
    WHERE changed_xid >= pg_snapshot_xmax(pg_current_snapshot())
""")


def read_changes(
    connection: Connection, cursor: Cursor, *, limit: int, questions_limit: int = MAX_QUESTIONS
) -> Changes:
    """Return what has changed since the cursor, for `limit` learners and `questions_limit` questions at most.

    The same question may be in several responses. Raise UnknownCursorError if the cursor is of another
    database or schema, or from before a restore or fail-over. Raise ConfigurationError if `renumber`, a part
    of `study-ingest migrate`, must be run after a restore.
    """
    ((database, oldest_running, not_begun, from_elsewhere),) = db.execute(connection, _SNAPSHOT)
    if from_elsewhere:
        raise ConfigurationError(
            "learner_changes: the table was restored from another Postgres: run `study-ingest migrate` once"
        )
    if cursor.database not in {None, database} or max(cursor.since, cursor.until or 0) > not_begun:
        raise UnknownCursorError(
            "the cursor is of another database or schema, or from before a restore or fail-over: read again"
            " without a cursor"
        )
    until = cursor.until or oldest_running
    if until <= cursor.since:
        return Changes([], Cursor(database, cursor.since), more=False)
    window = {"since": str(cursor.since), "until": str(until)}
    known = cursor.question_id
    place = {"user_id": cursor.user_id, "continued": known is not None, "limit": limit}
    found = db.execute(connection, _LEARNERS, window | place).fetchall()
    learners, room = [], questions_limit
    for user_id, complete in found:
        begun = user_id == cursor.user_id
        place = {"user_id": user_id, "after": known if begun and known is not None else -1, "limit": room}
        rows = db.execute(connection, _QUESTIONS, window | place | {"complete": complete})
        questions = [row._asdict() for row in rows]
        if questions or (complete and not begun):
            learners.append({"user_id": user_id, "complete": complete and not begun, "questions": questions})
        room -= len(questions)
        if not room:
            last = questions[-1]["question_id"]
            return Changes(learners, Cursor(database, cursor.since, until, user_id, last), more=True)
    if len(found) < limit:
        return Changes(learners, Cursor(database, until), more=False)
    return Changes(learners, Cursor(database, cursor.since, until, found[-1].user_id), more=True)


def renumber(connection: Connection) -> None:
    """Find learners whose row names a transaction that has not begun; mark all their progress as changed.

    `learner_changes` may have such rows after a restore from another Postgres, otherwise it has none.
    """
    db.execute(connection, _RENUMBER)
