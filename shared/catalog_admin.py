"""Load a catalog file into the tables; editions that were answered change only with `force`."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import chain, groupby, islice
from typing import Annotated, Any, NamedTuple, Self

import pydantic
from sqlalchemy import Connection, TextClause, text

from shared import db
from shared.attempts import sessions_of_uploads
from shared.config import TimeZone
from shared.errors import CatalogError, HostCatalogError
from shared.payload import Integer, as_integer, normal_id
from shared.study.finalize import refold
from shared.study.grading import grade
from shared.study.store import lock_learner


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("Postgres cannot store NUL in a text")
    return text


def _written(value: Any) -> Any:
    if isinstance(value, str):
        return value
    raise ValueError("must be a text")  # pydantic would take a number for seconds since 1970


Id = Annotated[int, pydantic.Field(gt=0, lt=2**63), pydantic.BeforeValidator(as_integer)]
Date = Annotated[date, pydantic.Field(strict=False), pydantic.BeforeValidator(_written)]
Moment = Annotated[pydantic.AwareDatetime, pydantic.Field(strict=False), pydantic.BeforeValidator(_written)]
Text = Annotated[str, pydantic.Field(min_length=1), pydantic.AfterValidator(_storable)]


class _Form(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True, extra="forbid")


class CatalogUser(_Form):
    """A learner; without a time zone, the stored one stays, or the default is used."""

    id: Id
    time_zone: TimeZone | None = None


class CatalogTopic(_Form):
    """A topic of one learner, with the date of its exam."""

    id: Id
    user_id: Id
    name: Text
    exam_on: Date | None = None


class CatalogEdition(_Form):
    """What a learner sees of a question under a public id, and the key that it is graded by."""

    pub_id: Annotated[
        str,
        pydantic.AfterValidator(normal_id),
        pydantic.Field(min_length=1, max_length=200),
        pydantic.AfterValidator(_storable),
    ]
    choices: list[Annotated[str, pydantic.AfterValidator(_storable)]] = pydantic.Field(min_length=2)
    correct_choice: Integer = pydantic.Field(ge=0)
    published_at: Moment | None = None

    @pydantic.model_validator(mode="after")
    def _right_choice_exists(self) -> Self:
        if self.correct_choice >= len(self.choices):
            raise ValueError("correct_choice is not the index of a choice")
        return self


_EDITION_FIELDS = frozenset(CatalogEdition.model_fields)


class CatalogQuestion(_Form):
    """A question of a topic with its editions; in the flat form, it has the fields of its only edition."""

    id: Id
    user_id: Id
    study_topic_id: Id
    subject: Text = pydantic.Field(max_length=120)
    exam_frequency: float | None = pydantic.Field(None, ge=0, allow_inf_nan=False)
    retired_at: Moment | None = None
    editions: list[CatalogEdition] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _flat_form(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "editions" in data:
            return data
        edition = {name: data[name] for name in data.keys() & _EDITION_FIELDS}
        return {name: value for name, value in data.items() if name not in edition} | {"editions": [edition]}


class CatalogFile(_Form):
    """A catalog; learners, topics and questions that it does not name are not changed."""

    users: list[CatalogUser] = []
    topics: list[CatalogTopic] = []
    questions: list[CatalogQuestion] = []

    @property
    def editions(self) -> Iterator[tuple[CatalogQuestion, CatalogEdition]]:
        """Yield every edition with its question."""
        return ((question, edition) for question in self.questions for edition in question.editions)


def read_catalog(text: bytes) -> CatalogFile:
    """Read a catalog; raise CatalogError with one line per mistake."""
    try:
        data = json.loads(decode(text), object_pairs_hook=_object)
        return validate(data, lambda steps: f"/{'/'.join(map(str, steps))}")  # a JSON pointer
    except json.JSONDecodeError as error:
        raise CatalogError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise CatalogError("it nests too deeply for a catalog") from None
    except ValueError:  # of Python's limit for digits
        raise CatalogError("a number has too many digits") from None


def decode(text: bytes) -> str:
    """Read UTF-8; raise CatalogError with the line that is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise CatalogError(f"line {line} is not UTF-8: save the file as UTF-8") from None


def validate(data: Any, place: Callable[[tuple[int | str, ...]], str]) -> CatalogFile:
    """Make a catalog of plain data; raise CatalogError with the place of each mistake."""
    try:
        return CatalogFile.model_validate(data)
    except pydantic.ValidationError as error:
        lines = [f"{place(e['loc'])}: {e['msg']}" for e in error.errors(include_url=False)]
        raise CatalogError("\n".join(lines)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        entry = members.get("pub_id") or members.get("id") or "the catalog"
        raise CatalogError("\n".join(_repeated(f"the key {name} of {entry}" for name, _ in pairs)))
    return members


def join(parts: Iterable[CatalogFile]) -> CatalogFile:
    """Join parts of a catalog."""
    rows: dict[str, list[Any]] = {kind: [] for kind in CatalogFile.model_fields}
    for part in parts:
        for kind in rows:
            rows[kind] += getattr(part, kind)
    return CatalogFile(**rows)


class EditionChange(NamedTuple):
    """What a load changes in a stored edition, and how many attempts it has.

    `changes`: some of `texts`, `order` (the same texts, moved), `key` (the right choice), `owner`,
    `question`.
    """

    pub_id: str
    changes: tuple[str, ...]
    attempts: int
    learners: int

    @property
    def refused(self) -> bool:
        """Return whether the change is refused even with `force`: its attempts would lose their meaning."""
        return self.attempts > 0 and ("question" in self.changes or {"order", "key"} <= {*self.changes})

    @property
    def locks(self) -> bool:
        """Return whether replays must wait for the change: new texts change nothing that they write."""
        return not {"key", "owner", "question"}.isdisjoint(self.changes)

    @property
    def regraded(self) -> bool:
        """Return whether attempts are graded again."""
        return self.attempts > 0 and "key" in self.changes

    def __str__(self) -> str:
        """Describe in one line what changes, and what becomes of the attempts."""
        changed = f"{self.pub_id}: {' and '.join(self.changes)} changed"
        if not self.attempts:
            return f"{changed}; never answered"
        if self.refused:
            verdict = "could no longer be interpreted: publish a new edition with a new pub_id"
        else:
            verdict = "are graded again" if self.regraded else "keep their outcomes"
        return f"{changed}; {self.attempts} attempts of {self.learners} learners {verdict}"


class _Known(NamedTuple):
    """The stored rows that a catalog names: by their ids, editions by `pub_id`."""

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
# Also editions of its questions that the catalog leaves out: a new owner of a question concerns them, too.
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


def compare(connection: Connection, catalog: CatalogFile) -> list[EditionChange]:
    """List what a catalog would change in stored editions; raise CatalogError if it contradicts itself."""
    return _compare(connection, catalog, _read(connection, catalog))


def require_ours(connection: Connection) -> None:
    """Raise HostCatalogError where the catalog is a document server's."""
    if not db.catalog_is_ours(connection):
        raise HostCatalogError(
            "DATABASE_SCHEMA: the catalog in this schema is views on a document server's tables, and is"
            " never written here: change those tables themselves"
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
    """Return rows by their first column; ask only if some are named: a request for a part names one kind."""
    return {row[0]: row for row in db.execute(connection, statement, named)} if any(named.values()) else {}


def _compare(connection: Connection, catalog: CatalogFile, known: _Known) -> list[EditionChange]:
    if faults := _faults(catalog, known):
        raise CatalogError("\n".join(faults))
    owners = {question.id: question.user_id for question in catalog.questions}
    named = {edition.pub_id: (question.id, edition) for question, edition in catalog.editions}
    changed = {}
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
        before = known.questions.get(row.source_id)
        if before and owners[row.source_id] != before.user_id:
            changes.append("owner")
        if changes:
            changed[pub_id] = tuple(changes)
    answered = _rows(connection, _ANSWERED, pub_ids=list(changed))
    return [
        EditionChange(pub_id, changes, *(answered[pub_id][1:] if pub_id in answered else (0, 0)))
        for pub_id, changes in sorted(changed.items())
    ]


def _faults(catalog: CatalogFile, known: _Known) -> list[str]:
    users = known.users.keys() | {user.id for user in catalog.users}
    owners = {topic.id: topic.user_id for topic in known.topics.values()}
    topics = owners | {topic.id: topic.user_id for topic in catalog.topics}
    first = {question.id: question for question in reversed(catalog.questions)}
    return [
        *_repeated(f"learner {user.id}" for user in dict.fromkeys(catalog.users)),
        *_repeated(f"topic {topic.id}" for topic in dict.fromkeys(catalog.topics)),
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
        *_repeated(edition.pub_id for _, edition in catalog.editions),
    ]


def _repeated(names: Iterable[str]) -> list[str]:
    return [f"{name}: appears twice" for name, times in Counter(names).items() if times > 1]


# Rows that are compared, locked and written in one transaction (docs/performance.md, "What was tried").
PART = 500

_ONE_CHANGE = text("SELECT pg_advisory_xact_lock(7319400452)")

# So that no replay grades by a key that is being replaced. In the order of their ids, so that two
# transactions do not deadlock.
_LOCK_LEARNERS = text("""
    SELECT id FROM users WHERE id = ANY(CAST(:user_ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
""")

_CONCERNED = text("""
    SELECT user_id FROM study_questions
    WHERE id IN (SELECT source_id FROM published_items WHERE pub_id = ANY(CAST(:pub_ids AS text[])))
    UNION
    SELECT a.user_id FROM published_items i
    JOIN study_question_attempts a ON a.study_question_id = i.source_id AND a.pub_id = i.pub_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[]))
""")

# Before their learners, as a replay does. An upload that is ingested between these locks and those of the
# learners is locked after its learner: at worst, a void of it at the same time fails and has to be repeated.
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
    """Lock the uploads and the learners of the attempts at some editions, as `regrade` needs it."""
    db.execute(connection, _LOCK_UPLOADS, {"pub_ids": pub_ids})
    for user_id in sorted(db.scalars(connection, _CONCERNED, {"pub_ids": pub_ids})):
        lock_learner(connection, user_id)


def lock_catalog(connection: Connection) -> None:
    """Wait until no other transaction changes the catalog; nothing but such changes waits for this lock."""
    db.execute(connection, _ONE_CHANGE)


def split(connection: Connection, catalog: CatalogFile, *, force: bool = False) -> list[CatalogFile]:
    """Split the rows that are new or differ into catalogs of at most PART rows, each for one transaction.

    Each locks at most one learner: no other learner waits while it waits for a busy one. Raises CatalogError
    as `load_catalog` does, before anything is written.
    """
    known = _read(connection, catalog)
    changes = _compare(connection, catalog, known)
    _judge(changes, force=force)
    users, topics, questions, editions = _new_rows(catalog, known)
    learners, named = {row["id"] for row in users}, {row["id"] for row in topics}
    ids = {row["id"] for row in questions} | {row["source_id"] for row in editions}
    locking = {each.pub_id for each in changes if each.locks}
    sources = {known.editions[pub_id].source_id for pub_id in locking}

    def locked_by_user(user: CatalogUser) -> int:
        return user.id if user.id in known.users else 0

    def locked_by_question(question: CatalogQuestion) -> int:
        locks = question.id in sources or not locking.isdisjoint(e.pub_id for e in question.editions)
        return known.questions.get(question.id, question).user_id if locks else 0

    new_users = [user for user in dict.fromkeys(catalog.users) if user.id in learners]
    new_topics = [topic for topic in dict.fromkeys(catalog.topics) if topic.id in named]
    changed = [question for question in catalog.questions if question.id in ids]
    return [
        *(CatalogFile(users=part) for part in _parts(new_users, locked_by_user)),
        *(CatalogFile(topics=part) for part in _parts(new_topics)),
        *(CatalogFile(questions=part) for part in _parts(changed, locked_by_question)),
    ]


def _parts(rows: Sequence[Any], locked: Callable[[Any], int] = lambda _: 0) -> Iterator[list[Any]]:
    """Group rows by the learner whom they lock, 0 for none, and cut the groups into parts."""
    for _, group in groupby(sorted(rows, key=locked), locked):
        while part := list(islice(group, PART)):
            yield part


def load_catalog(connection: Connection, catalog: CatalogFile, *, force: bool = False) -> list[EditionChange]:
    """Load a catalog and return what it changed in stored editions; loading it again changes nothing.

    Raises CatalogError if it contradicts itself or the tables and, without `force`, if it would change an
    answered edition. With `force`, attempts at an edition with a new key are graded again, and the progress
    of their questions is folded again; new texts change no outcome. Only rows that differ are written. Only
    learners with a new time zone, or of an edition whose key, question or owner changes, are locked.
    """
    lock_catalog(connection)
    known = _read(connection, catalog)
    changes = _compare(connection, catalog, known)
    users, *others = _new_rows(catalog, known)
    if changes or users:
        locking = [each.pub_id for each in changes if each.locks]
        learners = {
            *db.scalars(connection, _CONCERNED, {"pub_ids": locking}),
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
    if any(each.attempts if not force else each.refused for each in changes):
        raise CatalogError("\n".join([*map(str, changes), *([] if force else [_USE_FORCE])]))


# Not by shared/models.py: the ORM takes 8 MiB of each process that may load a catalog.
_KEYS = {"users": "id", "study_topics": "id", "study_questions": "id", "published_items": "pub_id"}
_USE_FORCE = "use --force if a key was wrong or texts are corrected (--dry-run shows what would change)"


def _new_rows(catalog: CatalogFile, known: _Known) -> tuple[list[dict[str, Any]], ...]:
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
        _differing({t.id: t.model_dump() for t in catalog.topics}, known.topics),
        _differing(questions, known.questions),
        _differing(editions, known.editions),
    )


def _differing(rows: Mapping[Any, dict[str, Any]], known: Mapping[Any, Any]) -> list[dict[str, Any]]:
    return [row for key, row in rows.items() if key not in known or row != known[key]._asdict()]


def _upsert(connection: Connection, table: str, key: str, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    columns = ", ".join(rows[0])
    # Nor the owner of a topic, which cannot change: it is part of a key, so writing it would block replays
    # until the load ends.
    fixed = {key, "user_id"} if table == "study_topics" else {key}
    new = ", ".join(f"{column} = excluded.{column}" for column in rows[0] if column not in fixed)
    upsert = f"""
        INSERT INTO {table} ({columns})
        SELECT {columns} FROM json_populate_recordset(CAST(NULL AS {table}), CAST(:rows AS json))
        ON CONFLICT ({key}) DO UPDATE SET {new}
    """  # noqa: S608  # made of the names of a table
    connection.execute(text(upsert), {"rows": db.as_json(rows)})


_ATTEMPTS = text("""
    SELECT a.user_id, a.study_quiz_session_id AS session_id, a.ordinal, a.study_question_id, a.selected,
        a.unsure, i.correct_choice
    FROM published_items i
    JOIN study_question_attempts a ON a.study_question_id = i.source_id AND a.pub_id = i.pub_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[]))
""")

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
    """Grade the attempts at some editions by their current keys; update counts, progress and results.

    The caller holds the locks of the learners.
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
            _update_result(connection, upload, result, due)


def _update_result(
    connection: Connection, upload: Any, result: dict[str, Any], due: Mapping[str, date]
) -> None:
    """Update the stored result, which the upload's sender gets as the answer."""
    topics = list(chain.from_iterable(sessions_of_uploads(connection, [upload]).values()))
    questions = [
        each | {"due": due[each["pub_id"]].isoformat()} if each["pub_id"] in due else each
        for each in result["questions"]
    ]
    updated = result | {"topics": topics, "questions": questions}
    db.execute(connection, _SAVE_RESULT, {"id": upload, "result": db.as_json(updated)})
