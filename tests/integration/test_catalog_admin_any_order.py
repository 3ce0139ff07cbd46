"""Editions are published and corrected, while uploads and live sessions of old and new ones come."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from shared.live import sessions
from shared.live.forms import SessionStart, Submission
from shared.models import PublishedItem, StudyQuestionAttempt, StudyQuizSession
from shared.study.grading import grade
from shared.study.store import COUNTS
from tests.factories import (
    CATALOG,
    DEFAULT_ZONE,
    NO_CHOICE,
    RIGHT,
    WRONG,
    ZONES,
    forget,
    ingest,
    load,
    progress,
    question,
    rows,
    sound,
    standing,
    upload,
)
from tests.strategies import FIRST_DAY, uploads

Step = tuple[str, Any]
# Keys are forced to these two: an answer is right under one and wrong under the other.
KEYS = (RIGHT, WRONG)
EDITIONS = {
    f"{name}{learner}{number}": 100 * learner + number
    for learner in ZONES
    for name, number in (("q", 10), ("second", 10), ("new", 10), ("q", 11))
}


def edition(pub_id: str, key: int) -> dict[str, Any]:
    """Describe an edition; the third of a question was published on the second day."""
    described = question(EDITIONS[pub_id], pub_id, correct_choice=key)
    published_at = FIRST_DAY.replace(day=FIRST_DAY.day + 1).isoformat()
    return described | ({"published_at": published_at} if pub_id.startswith("new") else {})


def publish(engine: Engine, keys: dict[str, int]) -> None:
    load(engine, {"questions": [edition(pub_id, key) for pub_id, key in keys.items()]}, force=True)


def start(engine: Engine) -> None:
    """Begin with the catalog as it was first: without the third editions."""
    forget(engine)
    with engine.begin() as connection:
        connection.execute(delete(PublishedItem).where(PublishedItem.pub_id.startswith("new")))
    load(engine, CATALOG, force=True)
    publish(engine, {pub_id: RIGHT for pub_id in EDITIONS if not pub_id.startswith("new")})


@dataclass(frozen=True)
class LiveSession:
    """A session on a learner's first topic: started at one step, answered and finalized at a later one."""

    learner: int
    at: datetime
    answers: list[tuple[int | None, bool]]


@dataclass
class LiveSide:
    """What was started so far, and every live session written as the upload that it equals."""

    engine: Engine
    started: dict[int, int] = field(default_factory=dict)
    as_uploads: list[dict[str, Any]] = field(default_factory=list)

    def advance(self, live: LiveSession) -> None:
        """Start the session; the second time, answer what it asks and finalize it."""
        with self.engine.begin() as connection:
            if live.learner not in self.started:
                form = SessionStart(study_topic_id=10 * live.learner + 1)
                self.started[live.learner] = sessions.start(
                    connection, live.learner, form, rng=Random(1), now=live.at, default_zone=DEFAULT_ZONE
                ).session_id
                return
            session = self.started[live.learner]
            asked = sessions.read_session(connection, live.learner, session)["questions"]
            answers = [
                {"pub_id": shown["pub_id"], "selected": selected, "unsure": unsure}
                for shown, (selected, unsure) in zip(asked, live.answers, strict=False)
            ]
            for each in answers:
                sessions.submit(
                    connection,
                    live.learner,
                    session,
                    Submission(**each),
                    now=live.at,
                    default_zone=DEFAULT_ZONE,
                )
            sessions.close(
                connection, live.learner, session, status="done", now=live.at, default_zone=DEFAULT_ZONE
            )
        self.as_uploads.append(upload(*(each | {"answered_at": live.at.isoformat()} for each in answers)))


@st.composite
def live_sessions(draw: st.DrawFn) -> list[LiveSession]:
    """Make at most one session of a learner, after the third editions were published."""
    learners = draw(st.lists(st.sampled_from(sorted(ZONES)), unique=True, max_size=2))
    answers = st.tuples(st.sampled_from([RIGHT, WRONG, NO_CHOICE]), st.booleans())
    hours = st.integers(24, 120)
    return [
        LiveSession(
            learner,
            FIRST_DAY + timedelta(hours=draw(hours)),
            draw(st.lists(answers, min_size=1, max_size=2)),
        )
        for learner in learners
    ]


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[Step]]:
    """Make uploads, and their arrivals among live sessions, publications and corrections of keys.

    An edition is published before an upload that names it arrives.
    """
    sent = draw(uploads())
    corrections = draw(
        st.lists(st.tuples(st.sampled_from(sorted(EDITIONS)), st.sampled_from(KEYS)), max_size=4)
    )
    steps: list[Step] = [("arrives", each) for each in sent] + [("corrected", each) for each in corrections]
    steps += [("live", each) for each in draw(live_sessions()) for _ in ("starts", "ends")]
    steps = draw(st.permutations(steps))
    named = [
        any(part["pub_id"].startswith("new") for part in what["attempts"])
        if step == "arrives"
        else step == "corrected" and what[0].startswith("new")
        for step, what in steps
    ]
    latest = named.index(True) if True in named else len(steps)
    place = draw(st.integers(0, latest))
    new = [pub_id for pub_id in EDITIONS if pub_id.startswith("new")]
    published: Step = ("published", {pub_id: draw(st.sampled_from(KEYS)) for pub_id in new})
    return sent, [*steps[:place], published, *steps[place:]]


@pytest.mark.timeout(3600)  # for the profile `long`
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every example forgets the last
@given(made=interleaved())
def test_I3_I4_each_attempt_is_graded_by_its_edition_whatever_was_published_when(
    pooled: Engine, made: tuple[list[dict[str, Any]], list[Step]]
) -> None:
    sent, steps = made
    start(pooled)
    live = LiveSide(pooled)
    for step, what in steps:
        if step == "arrives":
            ingest(pooled, what)
        elif step == "live":
            live.advance(what)
        else:
            publish(pooled, what if step == "published" else dict([what]))

    keys = {row["pub_id"]: row["correct_choice"] for row in rows(pooled, PublishedItem)}
    for attempt in rows(pooled, StudyQuestionAttempt):
        graded = grade(attempt["selected"], unsure=attempt["unsure"], correct_choice=keys[attempt["pub_id"]])
        assert (attempt["outcome"], attempt["rating"]) == graded
    assert sound(pooled)
    counts = {row["id"]: [row[name] for name in COUNTS] for row in rows(pooled, StudyQuizSession)}
    for each in sent:
        topics = (standing(pooled, each).result or {"topics": []})["topics"]
        assert all([topic[name] for name in COUNTS] == counts[topic["session_id"]] for topic in topics)

    known = progress(pooled)
    forget(pooled)
    for each in [*sent, *live.as_uploads]:
        ingest(pooled, each)
    assert progress(pooled) == known
