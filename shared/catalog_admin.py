"""Load a catalog into the tables; choices, key and owner of an answered edition change only with `force`."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

from psycopg.errors import ForeignKeyViolation
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import IntegrityError

from shared import db
from shared.catalog_form import CatalogFile, CatalogQuestion, CatalogUser, EditionChange, repeated
from shared.errors import CatalogError, HostCatalogError
from shared.regrading import regrade
from shared.study.store import lock_learner


class _Known(NamedTuple):
    """The stored rows that a catalog concerns, by id; editions by `pub_id`."""

    users: Mapping[int, Any]
    topics: Mapping[int, Any]
    questions: Mapping[int, Any]
    editions: Mapping[str, Any]


_USERS = text("SELECT id, time_zone FROM users WHERE id = ANY(CAST(:ids AS bigint[]))")
_TOPICS = text("SELECT id, user_id, name, exam_on FROM study_topics WHERE id = ANY(CAST(:ids AS bigint[]))")
_QUESTIONS = text("""
    SELECT id, user_id, study_topic_id, subject, exam_frequency, retired_at
    FROM study_questions WHERE id = ANY(CAST(:ids AS bigint[]))
""")
# Also editions that the catalog leaves out, if it names their question: a new owner of a question concerns
# all of its editions.
_EDITIONS = text("""
    SELECT pub_id, source_id, choices, correct_choice, published_at FROM published_items
    WHERE pub_id = ANY(CAST(:pub_ids AS text[])) OR source_id = ANY(CAST(:ids AS bigint[]))
""")
_ANSWERED = text("""
    SELECT i.pub_id, count(*) AS attempts, count(DISTINCT a.user_id) AS learners
    FROM published_items i
    JOIN study_question_attempts a ON a.study_question_id = i.source_id AND a.pub_id = i.pub_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[])) GROUP BY i.pub_id
""")
# Any edition of the question may be the one that is shown.
_ASKED = text("""
    SELECT i.pub_id, count(*) AS asked FROM published_items i
    JOIN study_quiz_sessions s ON s.status = 'in_progress' AND s.question_ids @> to_jsonb(i.source_id)
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[]))
        AND NOT EXISTS (SELECT FROM study_question_attempts a WHERE a.user_id = s.user_id
            AND a.study_quiz_session_id = s.id AND a.study_question_id = i.source_id)
    GROUP BY i.pub_id
""")


def compare(connection: Connection, catalog: CatalogFile) -> list[EditionChange]:
    """List what a catalog would change in stored editions.

    Raises CatalogError if the catalog contradicts itself or the tables.
    """
    return _compare(connection, catalog, _read(connection, catalog))


def require_ours(connection: Connection) -> None:
    """Raise HostCatalogError where the catalog is a document server's."""
    if not db.catalog_is_ours(connection):
        raise HostCatalogError(
            "DATABASE_SCHEMA: the catalog in this schema consists of views on a document server's tables:"
            " change those tables themselves"
        )


def _read(connection: Connection, catalog: CatalogFile) -> _Known:
    require_ours(connection)
    users = [*(user.id for user in catalog.users), *(topic.user_id for topic in catalog.topics)]
    topics = [*(topic.id for topic in catalog.topics), *(each.study_topic_id for each in catalog.questions)]
    questions = [question.id for question in catalog.questions]
    pub_ids = [edition.pub_id for _, edition in catalog.editions]
    return _Known(
        _rows(connection, _USERS, ids=users),
        _rows(connection, _TOPICS, ids=topics),
        _rows(connection, _QUESTIONS, ids=questions),
        _rows(connection, _EDITIONS, ids=questions, pub_ids=pub_ids),
    )


def _rows(connection: Connection, statement: TextClause, **named: list[Any]) -> dict[Any, Any]:
    """Return rows by their first column; if all lists of ids are empty, run no statement.

    A catalog that is a part of another one (`split`) has one kind of rows only.
    """
    return {row[0]: row for row in db.execute(connection, statement, named)} if any(named.values()) else {}


def _compare(connection: Connection, catalog: CatalogFile, known: _Known) -> list[EditionChange]:
    if faults := _faults(catalog, known):
        raise CatalogError("\n".join(faults))
    owners = {question.id: question.user_id for question in catalog.questions}
    named = {edition.pub_id: (question.id, edition) for question, edition in catalog.editions}
    changed, moved = {}, []
    for pub_id, row in known.editions.items():
        changes = []
        if pub_id in named:
            question, edition = named[pub_id]
            if edition.choices != row.choices:
                changes.append("order" if sorted(edition.choices) == sorted(row.choices) else "texts")
            if edition.correct_choice != row.correct_choice:
                changes.append("key")
            if question != row.source_id:
                changes.append("question")
            if _moves_choices(row.choices, edition.choices) or {"texts", "key"} <= {*changes}:
                moved.append(pub_id)
        before = known.questions.get(row.source_id)
        if before and owners[row.source_id] != before.user_id:
            changes.append("owner")
        if changes:
            changed[pub_id] = tuple(changes)
    # `asked` is read first: then an answer that comes between the two statements is counted, too.
    asked = _rows(connection, _ASKED, pub_ids=moved)
    answered = _rows(connection, _ANSWERED, pub_ids=list(changed))
    return [
        EditionChange(
            pub_id,
            changes,
            answered[pub_id].attempts if pub_id in answered else 0,
            answered[pub_id].learners if pub_id in answered else 0,
            asked[pub_id].asked if pub_id in asked else 0,
        )
        for pub_id, changes in sorted(changed.items())
    ]


def _moves_choices(before: Sequence[str], after: Sequence[str]) -> bool:
    """Return whether a text has another index: an answer with the old index would mean another choice."""
    first = {text: index for index, text in reversed([*enumerate(before)])}
    now = {text: index for index, text in reversed([*enumerate(after)])}
    return any(first[text] != now[text] for text in first.keys() & now.keys())


def _faults(catalog: CatalogFile, known: _Known) -> list[str]:
    users = known.users.keys() | {user.id for user in catalog.users}
    owners = {topic.id: topic.user_id for topic in known.topics.values()}
    topics = owners | {topic.id: topic.user_id for topic in catalog.topics}
    first = {question.id: question for question in reversed(catalog.questions)}
    return [
        *repeated(f"learner {user.id}" for user in dict.fromkeys(catalog.users)),
        *repeated(f"topic {topic.id}" for topic in dict.fromkeys(catalog.topics)),
        *(f"topic {t.id}: learner {t.user_id} is unknown" for t in catalog.topics if t.user_id not in users),
        *(
            f"topic {t.id}: the owner of a topic cannot change"
            for t in catalog.topics
            if owners.get(t.id, t.user_id) != t.user_id
        ),
        *(
            f"question {q.id}: topic {q.study_topic_id} is not a topic of learner {q.user_id}"
            for q in catalog.questions
            if topics.get(q.study_topic_id) != q.user_id
        ),
        *(
            f"question {q.id}: has two entries that differ"
            for q in catalog.questions
            # Several equal entries may list different editions.
            if (one := first[q.id]) is not q and one.model_copy(update={"editions": q.editions}) != q
        ),
        *repeated(edition.pub_id for _, edition in catalog.editions),
    ]


# Limit of learners, topics or questions in one transaction (docs/performance.md, "What was tried").
PART = 500

_ONE_CHANGE = text("SELECT pg_advisory_xact_lock(7319400452)")

# Learners are locked so that no replay grades by a key that is being replaced. The order of their ids keeps
# two transactions from a deadlock.
_LOCK_LEARNERS = text("""
    SELECT id FROM users WHERE id = ANY(CAST(:user_ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
""")

# The owners of editions, those who answered them, and those who are being asked: a forced load may have moved
# a question since a learner answered it, or began a session.
_CONCERNED = text("""
    SELECT user_id FROM study_questions
    WHERE id IN (SELECT source_id FROM published_items WHERE pub_id = ANY(CAST(:pub_ids AS text[])))
    UNION
    SELECT a.user_id FROM published_items i
    JOIN study_question_attempts a ON a.study_question_id = i.source_id AND a.pub_id = i.pub_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[]))
    UNION
    SELECT s.user_id FROM published_items i
    JOIN study_quiz_sessions s ON s.status = 'in_progress' AND s.question_ids @> to_jsonb(i.source_id)
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[]))
""")

# Uploads are locked before learners, as in a replay. An upload that is ingested between these two steps can
# only be locked after its learner. If an operator voids this upload at the same time, there may be a
# deadlock: then the load or the void fails, and has to be repeated.
_LOCK_UPLOADS = text("""
    SELECT client_session_uuid FROM uploads
    WHERE client_session_uuid IN (
        SELECT CAST(s.client_session_uuid AS uuid) FROM published_items i
        JOIN study_question_attempts a ON a.study_question_id = i.source_id AND a.pub_id = i.pub_id
        JOIN study_quiz_sessions s ON s.user_id = a.user_id AND s.id = a.study_quiz_session_id
        WHERE i.pub_id = ANY(CAST(:pub_ids AS text[])) AND s.superseded_at IS NULL)
    ORDER BY client_session_uuid FOR NO KEY UPDATE
""")


def lock_answered(connection: Connection, pub_ids: Sequence[str]) -> None:
    """Lock the uploads and the learners of the attempts at some editions, as `regrade` requires.

    The learners who own the questions of these editions, or are being asked them, are locked, too.
    """
    db.execute(connection, _LOCK_UPLOADS, {"pub_ids": pub_ids})
    for user_id in sorted(db.scalars(connection, _CONCERNED, {"pub_ids": pub_ids})):
        lock_learner(connection, user_id)


def lock_catalog(connection: Connection) -> None:
    """Wait until no other load or withdrawal changes the catalog, and keep others from changing it.

    The lock lasts until this transaction ends. Only loads, withdrawals, and comparisons with the digests that
    a request expects wait for this lock. The deletion of a learner does not.
    """
    db.execute(connection, _ONE_CHANGE)


def split(
    connection: Connection, catalog: CatalogFile, *, force: bool = False, keep: Collection[str] = ()
) -> list[CatalogFile]:
    """Split new and changed rows of `catalog` into catalogs of at most PART learners, topics or questions.

    Each part is for one transaction, which usually locks at most one learner: so a busy learner delays no
    other one. Questions that move are grouped by their former and their new learner, and both are locked.
    Former learners who answered a changed edition, or are being asked it, are locked, too. Raises
    CatalogError as `load_catalog` does, before any write.
    """
    known = _read(connection, catalog)
    changes = _compare(connection, catalog, known)
    _judge(changes, force=force)
    users, topics, questions, editions = _new_rows(catalog, known, keep=keep)
    learners, named = {row["id"] for row in users}, {row["id"] for row in topics}
    ids = {row["id"] for row in questions} | {row["source_id"] for row in editions}
    locking = {each.pub_id for each in changes if each.locks}
    sources = {known.editions[pub_id].source_id for pub_id in locking}

    def locked_by_user(user: CatalogUser) -> int:
        return user.id if user.id in known.users else 0

    def locked_by_question(question: CatalogQuestion) -> tuple[int, int]:
        before, now = known.questions.get(question.id, question).user_id, question.user_id
        locks = question.id in sources or not locking.isdisjoint(e.pub_id for e in question.editions)
        return (before, now) if locks or before != now else (0, 0)

    new_users = [user for user in dict.fromkeys(catalog.users) if user.id in learners]
    new_topics = [topic for topic in dict.fromkeys(catalog.topics) if topic.id in named]
    changed = [question for question in catalog.questions if question.id in ids]
    return [
        *(CatalogFile(users=part) for part in _parts(new_users, locked_by_user)),
        *(CatalogFile(topics=part) for part in _parts(new_topics)),
        *(CatalogFile(questions=part) for part in _parts(changed, locked_by_question)),
    ]


def _parts(rows: Sequence[Any], locked: Callable[[Any], Any] = lambda _: 0) -> Iterator[list[Any]]:
    """Group rows by the learners whom they lock, 0 for none, and cut the groups into parts."""
    for _, group in groupby(sorted(rows, key=locked), locked):
        while part := list(islice(group, PART)):
            yield part


def load_catalog(
    connection: Connection, catalog: CatalogFile, *, force: bool = False, keep: Collection[str] = ()
) -> list[EditionChange]:
    """Load a catalog and return what it changed in stored editions; loading it again changes nothing.

    Raises CatalogError if the catalog contradicts itself or the tables, or if it would change an edition that
    was answered or is being asked (`EditionChange`). With `force`, such a change is refused only if attempts
    could no longer be interpreted after it (`EditionChange.refused`). Attempts at an edition with a new key
    are graded again, and the progress of their questions is folded again; new texts change no outcome.
    `keep`: columns whose stored values stay where the catalog has none.

    Only rows that are new or differ are written. A learner is locked only if their time zone changes, if they
    own, have answered or are being asked an edition whose key, question or owner changes, or if they get a
    question.
    """
    lock_catalog(connection)
    known = _read(connection, catalog)
    changes = _compare(connection, catalog, known)
    users, *others = _new_rows(catalog, known, keep=keep)
    if changes or users:
        locking = [each.pub_id for each in changes if each.locks]
        learners = {
            *db.scalars(connection, _CONCERNED, {"pub_ids": locking}),
            # Who gets another learner's question: their deletion must wait, or be noticed.
            *(q.user_id for q in catalog.questions if known.questions.get(q.id, q).user_id != q.user_id),
            *(user["id"] for user in users),
        }
        db.execute(connection, _LOCK_UPLOADS, {"pub_ids": [each.pub_id for each in changes if each.regraded]})
        db.execute(connection, _LOCK_LEARNERS, {"user_ids": list(learners)})
        changes = _compare(connection, catalog, known)  # again, under the locks
    _judge(changes, force=force)
    for (table, key), rows in zip(_KEYS.items(), [users, *others], strict=True):
        _upsert(connection, table, key, rows)
    if regraded := [each.pub_id for each in changes if each.regraded]:
        regrade(connection, regraded)
    return changes


def _judge(changes: list[EditionChange], *, force: bool) -> None:
    if any(each.refused if force else each.attempts or each.asked for each in changes):
        raise CatalogError("\n".join([*map(str, changes), *([] if force else [_USE_FORCE])]))


# These keys are also in shared/models.py; but importing the ORM would take 8 MiB of each process that may
# load a catalog.
_KEYS = {"users": "id", "study_topics": "id", "study_questions": "id", "published_items": "pub_id"}
_USE_FORCE = (
    "use --force (over HTTP: force=true) to change answered editions; where attempts could no longer be"
    " interpreted, publish a new edition instead"
)


def _new_rows(
    catalog: CatalogFile, known: _Known, *, keep: Collection[str]
) -> tuple[list[dict[str, Any]], ...]:
    """List the rows that are new or differ: learners, topics, questions, editions."""
    # Where the file has no zone of a learner, the stored one stays.
    users = [
        user.model_dump()
        for user in dict.fromkeys(catalog.users)
        if user.id not in known.users or user.time_zone not in {None, known.users[user.id].time_zone}
    ]
    questions = {q.id: q.model_dump(exclude={"editions"}) for q in catalog.questions}
    editions = {e.pub_id: {"source_id": q.id} | e.model_dump() for q, e in catalog.editions}
    return (
        users,
        _differing({t.id: t.model_dump() for t in catalog.topics}, known.topics, keep=keep),
        _differing(questions, known.questions, keep=keep),
        _differing(editions, known.editions, keep=keep),
    )


def _differing(
    rows: Mapping[Any, dict[str, Any]], known: Mapping[Any, Any], *, keep: Collection[str]
) -> list[dict[str, Any]]:
    stored = {key: row._asdict() for key, row in known.items()}
    for key in rows.keys() & stored.keys():
        unsaid = [name for name in keep if name in rows[key] and rows[key][name] is None]
        rows[key].update((name, stored[key][name]) for name in unsaid)
    # In the order of their keys, as a deletion locks them: this makes deadlocks rare.
    return [rows[key] for key in sorted(rows) if rows[key] != stored.get(key)]


def _upsert(connection: Connection, table: str, key: str, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    columns = ", ".join(rows[0])
    # The owner of a topic cannot change, and is not written either: it is part of a unique constraint, so
    # writing it would block replays until the load ends.
    fixed = {key, "user_id"} if table == "study_topics" else {key}
    new = ", ".join(f"{column} = excluded.{column}" for column in rows[0] if column not in fixed)
    upsert = f"""
        INSERT INTO {table} ({columns})
        SELECT {columns} FROM json_populate_recordset(CAST(NULL AS {table}), CAST(:rows AS json))
        ON CONFLICT ({key}) DO UPDATE SET {new}
    """  # noqa: S608  # made of the names of a table
    try:
        connection.execute(text(upsert), {"rows": db.as_json(rows)})
    except IntegrityError as error:
        if not isinstance(error.orig, ForeignKeyViolation):
            raise
        raise CatalogError(
            "a learner whom the catalog names was deleted at the same time: load the catalog again"
        ) from None
