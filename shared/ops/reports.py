"""Reports for operators: a learner, an upload and its effects, and counts over time."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from shared import db
from shared.errors import UnknownUploadError
from shared.live import lists
from shared.live.sessions import require_learner
from shared.study import store
from shared.study.grading import study_date
from shared.study.progress import Curve, Step, fold_steps, forgetting_curve
from shared.uploads import Status

# Overdue questions count for today.
_COUNTS = text(f"""
    SELECT greatest(due, :today) AS day, count(*) AS questions
    FROM (SELECT {store.SHOWN_DUE} AS due
        FROM study_question_progress p
        JOIN study_questions q ON q.id = p.study_question_id AND q.user_id = p.user_id
        JOIN study_topics t ON t.id = q.study_topic_id
        WHERE p.user_id = :user_id AND (q.retired_at IS NULL OR q.retired_at > :now)) AS shown
    WHERE due < :end
    GROUP BY 1
""")  # noqa: S608  # made of the constant above


class DueDay(NamedTuple):
    """A study date, and how many questions are due on it."""

    day: date
    questions: int


def due_calendar(
    connection: Connection, user_id: int, *, today: date, now: datetime, days: int
) -> list[DueDay]:
    """Count the questions due on each of `days` days from today on; overdue questions count for today."""
    require_learner(connection, user_id)
    bound = {"user_id": user_id, "today": today, "now": now, "end": today + timedelta(days=days)}
    counts = {row.day: row.questions for row in db.execute(connection, _COUNTS, bound)}
    coming = (today + timedelta(days=number) for number in range(days))
    return [DueDay(day, counts.get(day, 0)) for day in coming]


# `typed` is compared without patterns: an id by its beginning, zones and topics by any part in upper or
# lower case, a public id as a whole.
_FIND_LEARNERS = text("""
    SELECT u.id, u.time_zone, studied.questions, studied.last_answered_at,
        ARRAY(SELECT name FROM study_topics t WHERE t.user_id = u.id ORDER BY t.id LIMIT 5) AS topics
    FROM users u CROSS JOIN LATERAL (
        SELECT count(*) AS questions, max(last_answered_at) AS last_answered_at
        FROM study_question_progress p WHERE p.user_id = u.id) AS studied
    WHERE starts_with(CAST(u.id AS text), :typed) OR position(lower(:typed) IN lower(u.time_zone)) > 0
        OR EXISTS (SELECT FROM study_topics t
            WHERE t.user_id = u.id AND position(lower(:typed) IN lower(t.name)) > 0)
        OR u.id = (SELECT q.user_id FROM published_items i JOIN study_questions q ON q.id = i.source_id
            WHERE i.pub_id = :typed)
    ORDER BY CAST(u.id AS text) <> :typed, u.id LIMIT :limit
""")


class FoundLearner(NamedTuple):
    """A learner in a list: some of their topics, and how many questions they have answered."""

    id: int
    time_zone: str | None
    questions: int
    last_answered_at: datetime | None
    topics: list[str]


def find_learners(connection: Connection, typed: str, *, limit: int) -> list[FoundLearner]:
    """Find learners by id, time zone, topic or the public id of a question; an empty text finds all.

    The learner whose id was typed comes first.
    """
    rows = db.execute(connection, _FIND_LEARNERS, {"typed": typed, "limit": limit})
    return [FoundLearner(*row) for row in rows]


# Five weeks, beginning with today.
DAYS = 35
NOTES = 50
# How far the curve continues after today.
AHEAD = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LearnerReport:
    """A learner as an operator sees them.

    `areas`: the results in each subject, by topic; `notes`: the open wrong notes, at most NOTES of them.
    Times and dates are texts in `progress`, and Python objects in the other fields.
    """

    zone: str
    progress: list[dict[str, Any]]
    calendar: list[DueDay]
    areas: list[tuple[lists.Topic, list[dict[str, Any]]]]
    notes: list[dict[str, Any]]


def report_learner(
    connection: Connection, user_id: int, *, now: datetime, default_zone: str
) -> LearnerReport:
    """Collect the data of a learner's report; raise UnknownLearnerError for an unknown learner."""
    require_learner(connection, user_id)
    zone = store.learner_zone(connection, user_id, default_zone)
    today = study_date(now, None, zone)
    notes = lists.wrong_notes(
        connection,
        user_id,
        state="open",
        after=lists.BEFORE_NOTES,
        limit=NOTES,
        now=now,
        default_zone=default_zone,
    )
    areas = [
        (topic, lists.weak_areas(connection, user_id, topic.id, now=now, default_zone=default_zone))
        for topic in lists.list_topics(connection, user_id)
    ]
    return LearnerReport(
        zone.key,
        list(store.list_progress(connection, user_id)),
        due_calendar(connection, user_id, today=today, now=now, days=DAYS),
        [(topic, subjects) for topic, subjects in areas if subjects],
        [note for _, note in notes],
    )


def curve(
    connection: Connection, user_id: int, question_id: int, *, now: datetime, default_zone: str
) -> Curve:
    """Compute the forgetting curve of a learner's question, up to AHEAD after today."""
    today = store.today_of(connection, user_id, now=now, default_zone=default_zone)
    reviews = store.load_reviews(connection, user_id, [question_id])[question_id]
    return forgetting_curve(reviews, today + AHEAD)


# An upload that was replayed again counts at the end of its last replay.
_ACTIVITY = text("""
    WITH event (at, kind) AS (
        SELECT received_at, 'received' FROM uploads WHERE received_at >= :since
        UNION ALL
        SELECT finalized_at, status FROM uploads WHERE finalized_at >= :since
    ), counted AS (
        SELECT date_bin(:step, at, :since) AS start,
            count(*) FILTER (WHERE kind = 'received') AS received,
            count(*) FILTER (WHERE kind = 'ingested') AS ingested,
            count(*) FILTER (WHERE kind = 'rejected') AS rejected,
            count(*) FILTER (WHERE kind = 'dead') AS dead
        FROM event GROUP BY 1)
    SELECT start, coalesce(received, 0) AS received, coalesce(ingested, 0) AS ingested,
        coalesce(rejected, 0) AS rejected, coalesce(dead, 0) AS dead
    FROM generate_series(:since, CAST(:now AS timestamptz), :step) AS start LEFT JOIN counted USING (start)
    ORDER BY start
""")


class Activity(NamedTuple):
    """Uploads received, and uploads that reached each final status, in the step that begins at `start`."""

    start: datetime
    received: int
    ingested: int
    rejected: int
    dead: int


def activity(connection: Connection, *, now: datetime, steps: int, step: timedelta) -> list[Activity]:
    """Count uploads in each of the latest steps, the oldest first; the newest step is not over yet."""
    begun = now.timestamp() // step.total_seconds() * step.total_seconds()
    since = datetime.fromtimestamp(begun, now.tzinfo) - step * (steps - 1)
    rows = db.execute(connection, _ACTIVITY, {"since": since, "step": step, "now": now})
    return [Activity(*row) for row in rows]


_STATUS_COUNTS = text("""
    SELECT (SELECT count(*) FROM uploads WHERE received_at >= :since) AS received, ended.*
    FROM (SELECT count(*) FILTER (WHERE status = 'ingested') AS ingested,
        count(*) FILTER (WHERE status = 'rejected') AS rejected,
        count(*) FILTER (WHERE status = 'dead') AS dead
        FROM uploads WHERE finalized_at >= :since) AS ended
""")

_WEBHOOKS = text("SELECT status, count(*) AS webhooks FROM outbox GROUP BY status ORDER BY status")


class Counts(NamedTuple):
    """How many uploads were received, and how many reached each final status."""

    received: int
    ingested: int
    rejected: int
    dead: int


def count_since(connection: Connection, since: datetime) -> Counts:
    """Count the uploads that were received, and those that reached each final status, since a time."""
    (counts,) = db.execute(connection, _STATUS_COUNTS, {"since": since})
    return Counts(*counts)


def count_webhooks(connection: Connection) -> dict[str, int]:
    """Count the webhooks of each status; a status without webhooks is left out."""
    return {row.status: row.webhooks for row in db.execute(connection, _WEBHOOKS)}


# All superseded sessions are void; the condition on `superseded_at` lets Postgres use the index of the uuids.
_ATTEMPTS = text("""
    SELECT a.user_id, a.study_question_id, a.pub_id, a.answered_at, a.counted
    FROM study_quiz_sessions s
    JOIN study_question_attempts a ON a.user_id = s.user_id AND a.study_quiz_session_id = s.id
    WHERE s.client_session_uuid = :uuid AND s.voided_at IS NULL AND s.superseded_at IS NULL
    ORDER BY a.ordinal
""")


class Effect(NamedTuple):
    """The change of progress (`step`) that an upload's attempt caused.

    `attempts`: how many attempts the learner has at the question, without those of sessions that are void or
    in progress.
    """

    pub_id: str
    step: Step
    attempts: int


def effects(connection: Connection, client_session_uuid: UUID) -> list[Effect]:
    """List the effects of an upload's attempts; none if it is not ingested or is void."""
    rows = list(db.execute(connection, _ATTEMPTS, {"uuid": str(client_session_uuid)}))
    if not rows:
        return []
    reviews = store.load_reviews(connection, rows[0].user_id, {row.study_question_id for row in rows})
    steps = {question: list(fold_steps(each)) for question, each in reviews.items()}
    done = []
    for row in rows:
        theirs = steps[row.study_question_id]
        same = (
            step
            for step in theirs
            if (step.review.answered_at, step.review.counted) == (row.answered_at, row.counted)
        )
        if step := next(same, None):  # none if the upload was voided between the two statements
            done.append(Effect(row.pub_id, step, len(theirs)))
    return done


_UPLOAD = text("""
    SELECT u.client_session_uuid, u.status, u.received_at, u.finalized_at, u.tries, u.next_try_at,
        u.learner_id, u.user_id, u.reason, u.last_error, u.result, u.payload, u.clock_shift,
        voided.at AS voided_at, voided.reason AS void_reason
    FROM uploads u
    LEFT JOIN LATERAL (SELECT voided_at AS at, void_reason AS reason FROM study_quiz_sessions
        WHERE client_session_uuid = CAST(u.client_session_uuid AS text) AND voided_at IS NOT NULL
            AND superseded_at IS NULL
        ORDER BY voided_at DESC LIMIT 1) AS voided ON TRUE
    WHERE u.client_session_uuid = :id
""")

_EVENTS = text("""
    SELECT at, kind, detail, actor FROM upload_events WHERE client_session_uuid = :id ORDER BY at, id
""")

# The owners in the present catalog.
_OWNERS = text("""
    SELECT i.pub_id, q.user_id FROM published_items i JOIN study_questions q ON q.id = i.source_id
    WHERE i.pub_id = ANY(CAST(:pub_ids AS text[]))
""")

_CONFLICTS = text("""
    SELECT id, received_at, content_hash FROM upload_conflicts
    WHERE client_session_uuid = :id AND NOT blanked ORDER BY received_at, id
""")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Other content that came under the upload's uuid."""

    id: int
    received_at: datetime
    content_hash: str


class TimelineEntry(NamedTuple):
    """What happened to an upload, and when; `actor`: the operator who did it, if known."""

    at: datetime
    what: str
    detail: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class UploadReport:
    """An upload as an operator may see it; `payload` is None if it was purged or blanked.

    `learner_id`: the learner who must own all its questions, None if a trusted sender sent the upload.
    `owners`: the owner of each question by public id, if the upload is rejected.
    """

    client_session_uuid: UUID
    status: Status
    received_at: datetime
    finalized_at: datetime | None
    tries: int
    next_try_at: datetime
    learner_id: int | None
    user_id: int | None
    reason: str | None
    last_error: str | None
    result: dict[str, Any] | None
    payload: dict[str, Any] | None
    clock_shift: timedelta | None
    voided_at: datetime | None
    void_reason: str | None
    conflicts: list[Conflict]
    events: list[TimelineEntry]
    owners: dict[str, int]

    @property
    def timeline(self) -> list[TimelineEntry]:
        """List what happened to the upload and when, and its next try while it is `received`."""
        known = {event[:2] for event in self.events}
        shown = [(self.received_at, "received"), (self.finalized_at, str(self.status))]
        shown += [(self.voided_at, "voided"), *((each.received_at, "received") for each in self.conflicts)]
        entries = [TimelineEntry(at, what) for at, what in shown if at and (at, what) not in known]
        entries += self.events
        if self.status is Status.RECEIVED:
            entries.append(TimelineEntry(self.next_try_at, "next try"))
        return sorted(entries, key=itemgetter(0))


def report_upload(connection: Connection, client_session_uuid: UUID) -> UploadReport:
    """Look up all that is known of an upload; raise UnknownUploadError if there is none."""
    bound = {"id": client_session_uuid}
    row = db.execute(connection, _UPLOAD, bound).fetchone()
    if row is None:
        raise UnknownUploadError(f"there is no upload {client_session_uuid}")
    known = row._asdict() | {"status": Status(row.status)}
    sent = [each["pub_id"] for each in row.result["attempts"]] if row.reason and row.result else []
    return UploadReport(
        **known,
        conflicts=[Conflict(*each) for each in db.execute(connection, _CONFLICTS, bound)],
        events=[TimelineEntry(*each) for each in db.execute(connection, _EVENTS, bound)],
        owners=dict(db.execute(connection, _OWNERS, {"pub_ids": sent}).fetchall()) if sent else {},
    )
