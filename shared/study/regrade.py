"""Grade stored attempts again, after a question's right choice was changed."""

from collections.abc import Iterable

from sqlalchemy import Connection, text

from shared.study.grading import grade

_LOAD = text("""
    SELECT a.id, a.selected, a.unsure, q.correct_choice
    FROM study_question_attempts a JOIN study_questions q ON q.id = a.study_question_id
    WHERE q.id = ANY(CAST(:question_ids AS bigint[]))
""")

_SAVE = text("""
    UPDATE study_question_attempts a SET outcome = graded.outcome, rating = graded.rating
    FROM unnest(CAST(:ids AS bigint[]), CAST(:outcomes AS text[]), CAST(:ratings AS smallint[]))
        AS graded (id, outcome, rating)
    WHERE a.id = graded.id
""")


def regrade(connection: Connection, question_ids: Iterable[int]) -> None:
    """Derive outcome and rating of every attempt at these questions anew; the caller folds again."""
    attempts = connection.execute(_LOAD, {"question_ids": list(question_ids)}).all()
    grades = [grade(a.selected, unsure=a.unsure, correct_choice=a.correct_choice) for a in attempts]
    connection.execute(
        _SAVE,
        {
            "ids": [attempt.id for attempt in attempts],
            "outcomes": [each.outcome for each in grades],
            "ratings": [int(each.rating) for each in grades],
        },
    )
