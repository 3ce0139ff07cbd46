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
from shared.study.grading import grade
from shared.study.progress import SCHEDULER, Pattern, Progress, Review, WrongNote, advance, classify
from shared.study.scheduling import study_date
from shared.study.store import COLUMNS

app = Celery("textbook", broker=settings.broker_url)
engine = create_engine(settings.database_url)
PATTERNS = {pattern: str(pattern) for pattern in Pattern} | {Pattern.CHRONIC: "chronic_remaining"}


@app.task(name="finalize")
def finalize(upload: dict[str, Any]) -> None:
    """Write a session for each topic, and every attempt with its effects."""
    with Session(engine) as session, session.begin():
        quizzes: dict[int, StudyQuizSession] = {}
        for ordinal, attempt in enumerate(upload["attempts"]):
            item = session.get_one(PublishedItem, attempt["pub_id"])
            question = session.get_one(StudyQuestion, item.source_id)
            topic = question.study_topic_id
            if topic not in quizzes:
                quizzes[topic] = _quiz(session, question, upload["client_session_uuid"])
            _answer(session, quizzes[topic], item, ordinal, attempt)


def _quiz(session: Session, question: StudyQuestion, upload: str) -> StudyQuizSession:
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


def _answer(
    session: Session, quiz: StudyQuizSession, item: PublishedItem, ordinal: int, attempt: dict[str, Any]
) -> None:
    at = datetime.fromisoformat(attempt["answered_at"])
    day = study_date(at, None, UTC)
    graded = grade(attempt["selected"], unsure=attempt["unsure"], correct_choice=item.correct_choice)
    session.add(
        StudyQuestionAttempt(
            user_id=quiz.user_id,
            study_quiz_session_id=quiz.id,
            study_question_id=item.source_id,
            pub_id=item.pub_id,
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
    review = Review(item.source_id, at, day, graded.rating, graded.outcome, counted=True)
    pattern = _learn(session, quiz.user_id, review)
    quiz.question_ids = [*quiz.question_ids, item.source_id]
    quiz.finished_at = at
    for name in [str(graded.outcome), *([PATTERNS[pattern]] if pattern else [])]:
        setattr(quiz, f"{name}_count", (getattr(quiz, f"{name}_count") or 0) + 1)


def _learn(session: Session, user_id: int, review: Review) -> Pattern | None:
    row = session.get(StudyQuestionProgress, (review.question_id, user_id))
    before = None
    if row is None:
        row = StudyQuestionProgress(user_id=user_id, study_question_id=review.question_id)
        session.add(row)
    else:
        values = {name: getattr(row, name) for name in COLUMNS}
        before = Progress(**values | {"wrong_note": WrongNote(row.wrong_note)})
    after = advance(before, review)
    for name in COLUMNS:
        setattr(row, name, getattr(after, name))
    row.scheduler = SCHEDULER
    return classify(before, review)


def delay(body: bytes) -> None:
    """Queue an upload."""
    finalize.delay(json.loads(body))


if __name__ == "__main__":
    serve(delay)
