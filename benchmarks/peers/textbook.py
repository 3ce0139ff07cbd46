"""Celery as in a textbook: the payload in the message, acknowledged early, then the ORM, row by row."""

import json
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from benchmarks.peers.web import serve, settings
from shared.models import (
    Outbox,
    PublishedItem,
    StudyQuestion,
    StudyQuestionAttempt,
    StudyQuestionProgress,
    StudyQuizSession,
)
from shared.study.grading import grade, study_date
from shared.study.progress import SCHEDULER, Pattern, Progress, Review, WrongNote, advance, classify

app = Celery("textbook", broker=settings.broker_url)
engine = create_engine(settings.database_url)
PATTERNS = {pattern: str(pattern) for pattern in Pattern} | {Pattern.CHRONIC: "chronic_remaining"}


@app.task(name="finalize")
def finalize(upload: dict[str, Any]) -> None:
    """Write a session for each topic, and every attempt with its effects."""
    with Session(engine) as session, session.begin():
        quizzes: dict[int, StudyQuizSession] = {}
        for ordinal, attempt in enumerate(upload["attempts"]):
            edition = session.get_one(PublishedItem, attempt["pub_id"])
            question = session.get_one(StudyQuestion, edition.source_id)
            topic = question.study_topic_id
            if topic not in quizzes:
                quizzes[topic] = insert_session(session, question, upload["client_session_uuid"])
            insert_attempt(session, quizzes[topic], edition, ordinal, attempt)


def insert_session(session: Session, question: StudyQuestion, upload: str) -> StudyQuizSession:
    """Write a quiz session, with the webhooks that are due after it."""
    quiz = StudyQuizSession(
        user_id=question.user_id,
        study_topic_id=question.study_topic_id,
        question_ids=[],
        status="done",
        source="viewer",
        client_session_uuid=upload,
        finalized_at=datetime.now(UTC),
    )
    session.add(quiz)
    session.flush()
    session.add_all(
        Outbox(user_id=quiz.user_id, study_quiz_session_id=quiz.id, kind=kind)
        for kind in ("explain_misses", "weak_areas")
    )
    return quiz


def insert_attempt(
    session: Session, quiz: StudyQuizSession, edition: PublishedItem, ordinal: int, attempt: dict[str, Any]
) -> None:
    """Write an attempt, and its effects on progress and on the session's counts."""
    at = datetime.fromisoformat(attempt["answered_at"])
    graded = grade(attempt["selected"], unsure=attempt["unsure"], correct_choice=edition.correct_choice)
    day = study_date(at, None, UTC)
    session.add(
        StudyQuestionAttempt(
            user_id=quiz.user_id,
            study_quiz_session_id=quiz.id,
            study_question_id=edition.source_id,
            pub_id=edition.pub_id,
            ordinal=ordinal,
            selected=attempt["selected"],
            unsure=attempt["unsure"],
            outcome=graded.outcome,
            rating=int(graded.rating),
            counted=True,
            answered_at=at,
            answered_at_raw=at,
            study_date=day,
            clock_adjusted=False,
        )
    )
    review = Review(edition.source_id, at, day, graded.rating, graded.outcome, counted=True)
    row = session.get(StudyQuestionProgress, (edition.source_id, quiz.user_id))
    before = None
    if row is None:
        row = StudyQuestionProgress(study_question_id=edition.source_id, user_id=quiz.user_id)
        session.add(row)
    else:
        values = {name: getattr(row, name) for name in Progress._fields}
        before = Progress(**values | {"wrong_note": WrongNote(row.wrong_note)})
    for name, value in advance(before, review)._asdict().items():
        setattr(row, name, value)
    row.scheduler = SCHEDULER
    pattern = classify(before, review)
    quiz.question_ids = [*quiz.question_ids, edition.source_id]
    quiz.finished_at = at
    for name in [str(graded.outcome), *([PATTERNS[pattern]] if pattern else [])]:
        setattr(quiz, f"{name}_count", (getattr(quiz, f"{name}_count") or 0) + 1)


def delay(body: bytes) -> None:
    """Queue an upload."""
    finalize.delay(json.loads(body))


if __name__ == "__main__":
    serve(delay)
