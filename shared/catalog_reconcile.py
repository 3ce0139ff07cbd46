"""Find learners who are gone, and right choices that were changed after answers were graded by them.

When a document server changes its tables, no attempt is graded again, and no foreign key deletes our rows. So
`reconcile` brings our rows in line with the server's tables.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis import Redis
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shared import db, failures
from shared.catalog_admin import lock_answered
from shared.editions import CAN_GRADE, NAMES_ONE
from shared.learners import delete_learner
from shared.regrading import regrade
from shared.study.grading import grade
from shared.study.store import is_learner


class Difference(NamedTuple):
    """A learner who is gone, or has attempts that the catalog's present keys would grade differently.

    `editions`: the number of these attempts, by `pub_id`; empty if the learner is gone.
    """

    user_id: int
    editions: dict[str, int]

    def __str__(self) -> str:
        """Describe the difference in one line."""
        if not self.editions:
            return f"learner {self.user_id} is gone, but data of this learner is still here"
        keys = ", ".join(f"{pub_id} ({attempts} attempts)" for pub_id, attempts in self.editions.items())
        return f"learner {self.user_id} has attempts graded by another key than the present one: {keys}"


class Unchecked(NamedTuple):
    """A learner whose attempts could not be compared with the catalog's keys, and the error."""

    user_id: int
    error: str

    def __str__(self) -> str:
        """Describe the failure in one line."""
        return (
            f"learner {self.user_id} was not checked, as a row of the catalog cannot be read, or takes too"
            f" long ({self.error}): correct the row, or let the view published_items show NULL instead"
        )


Found = Difference | Unchecked

# Limit of learners that are read at once.
BATCH = 200
_LIMIT = text("SELECT set_config('statement_timeout', CAST(:limit AS text), true)")

# All learners of whom we may have data. Each part except the conflicts is read by an index. A learner whose
# questions are gone before the first replay is known only by the token with which the upload was sent. Which
# uploads are a learner's is also in shared/learners.py.
_LEARNERS = text("""
    SELECT user_id, EXISTS (SELECT FROM users WHERE id = c.user_id) AS is_there,
        bool_or(has_answers)
            OR EXISTS (SELECT FROM uploads u WHERE u.user_id = c.user_id AND u.payload IS NOT NULL
                AND (u.status = 'ingested' OR coalesce(u.learner_id, c.user_id) = c.user_id))
            AS is_known
    FROM (
        (SELECT user_id, FALSE AS has_answers FROM learner_changes WHERE user_id > :after
            ORDER BY user_id LIMIT :batch)
        UNION
        (SELECT DISTINCT user_id, TRUE FROM study_quiz_sessions WHERE user_id > :after
            ORDER BY user_id LIMIT :batch)
        UNION
        (SELECT DISTINCT user_id, FALSE FROM uploads WHERE user_id > :after ORDER BY user_id LIMIT :batch)
        UNION
        (SELECT DISTINCT learner_id, TRUE FROM uploads
            WHERE status IN ('rejected', 'dead') AND payload IS NOT NULL AND learner_id > :after
            ORDER BY learner_id LIMIT :batch)
        UNION
        (SELECT DISTINCT known.id, TRUE
            FROM upload_conflicts CROSS JOIN LATERAL (VALUES (user_id), (learner_id)) AS known (id)
            WHERE payload IS NOT NULL AND known.id > :after ORDER BY known.id LIMIT :batch)
    ) c GROUP BY user_id ORDER BY user_id LIMIT :batch
""")


_GRADED = text(f"""
    SELECT a.user_id, a.pub_id, a.selected, a.unsure, a.outcome, a.rating, i.correct_choice,
        count(*) AS attempts
    FROM study_question_attempts a
    JOIN published_items i ON i.pub_id = a.pub_id AND i.source_id = a.study_question_id
    WHERE a.user_id = ANY(CAST(:user_ids AS bigint[])) AND {CAN_GRADE} AND {NAMES_ONE.format("a")}
    GROUP BY a.user_id, a.pub_id, a.selected, a.unsure, a.outcome, a.rating, i.correct_choice
    ORDER BY a.user_id, a.pub_id
""")  # noqa: S608  # made of constants


class Differences(Iterator[list[Found]]):
    """The differences, in batches of learners; if Postgres is away, the next call reads the batch again.

    If a document server's view cannot show a row, such as a row with a text that is no JSON, or takes too
    long to show a row, the whole statement fails. So the next batch is smaller, until it is a single
    learner (I12). `limit`: the longest time of a statement, in seconds.
    """

    def __init__(self, engine: Engine, limit: float | None = None) -> None:
        self._engine, self._limit = engine, limit
        self._after = -1
        self._batch = BATCH

    def __next__(self) -> list[Found]:
        """Return the differences of the next learners, each learner's at most once; perhaps an empty list."""
        found: list[Found]
        learners: Sequence[Any] = ()
        try:
            with self._transaction() as connection:
                bound = {"after": self._after, "batch": self._batch}
                learners = db.execute(connection, _LEARNERS, bound).fetchall()
            if not learners:
                raise StopIteration
            found = self._changed([each.user_id for each in learners if each.is_there])
        except DBAPIError as error:
            if failures.is_away(error) or failures.is_transient(error):
                raise
            failed = len(learners) or self._batch
            self._batch = failed // 2
            if self._batch:
                return []
            if not learners:  # the view `users` cannot show even one learner
                self._batch = 1
                raise
            found = [Unchecked(learners[0].user_id, failures.describe(error))]
        found += [Difference(each.user_id, {}) for each in learners if each.is_known and not each.is_there]
        self._after = learners[-1].user_id
        self._batch = min(BATCH, 2 * self._batch or 1)
        return sorted(found, key=lambda each: each.user_id)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if self._limit is not None:
                db.execute(connection, _LIMIT, {"limit": int(1000 * self._limit)})
            yield connection

    def _changed(self, user_ids: list[int]) -> list[Found]:
        """Compare the attempts of some learners with the present keys."""
        changed: dict[int, dict[str, int]] = defaultdict(dict)
        with self._transaction() as connection:
            for row in db.execute(connection, _GRADED, {"user_ids": user_ids}):
                graded = grade(row.selected, unsure=row.unsure, correct_choice=row.correct_choice)
                if graded != (row.outcome, row.rating):
                    editions = changed[row.user_id]
                    editions[row.pub_id] = editions.get(row.pub_id, 0) + row.attempts
        return [Difference(*each) for each in changed.items()]


def reconcile(connection: Connection, difference: Difference, redis: Redis | None) -> bool:
    """Grade all attempts at a difference's editions again; delete the data of a learner who is gone.

    Of such a learner, sessions, attempts, progress and entries of the spool are deleted, and uploads and
    conflicts are blanked. If the learner is in `users` again by now, nothing is done, and False is returned.
    `redis`: the spool, if there is one.
    """
    if difference.editions:
        lock_answered(connection, [*difference.editions])
        regrade(connection, [*difference.editions])
    elif is_learner(connection, difference.user_id):
        # A document server may load its users again, and be between deleting and inserting them when we read
        # them.
        return False
    else:
        delete_learner(connection, difference.user_id, redis)
    return True
