"""A document server that keeps a copy of all progress, by `/study/changes`."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Engine

from api.schemas import ChangedLearner, ChangedQuestion
from shared import changes
from shared.models import StudyQuestionProgress
from tests.factories import rows

Copy = dict[int, dict[int, Any]]


class Reader:
    """A copy by learner and question; `read` returns the answer to a cursor, as JSON."""

    def __init__(self, read: Callable[[str], Mapping[str, Any]]) -> None:
        self.read = read
        self.cursor = ""
        self.copy: Copy = {}

    def poll(self) -> Mapping[str, Any]:
        """Read an answer into the copy, and return it."""
        answer = self.read(self.cursor)
        for learner in answer["learners"]:
            known = self.copy.setdefault(learner["user_id"], {})
            if learner["complete"]:
                known.clear()
            known |= {each["question_id"]: each for each in learner["questions"]}
        self.cursor = answer["next"]
        return answer

    def catch_up(self) -> None:
        """Read until there is no more, and then once again, for changes since the first reading began."""
        for _ in range(2):
            while self.poll()["more"]:
                pass

    def start_again(self) -> None:
        """Forget the copy and the cursor, which the server does not know any more."""
        self.cursor = ""
        self.copy.clear()

    def differences(self, engine: Engine) -> int:
        """Count the questions whose progress differs between the copy and the tables."""
        ours, theirs = _by_question(self.copy), _by_question(_stored(engine))
        return sum(ours.get(key) != theirs.get(key) for key in ours.keys() | theirs.keys())


def reader(engine: Engine, limit: int = 10, questions_limit: int = 10) -> Reader:
    """Make a reader of a database, without a web server."""

    def read(cursor: str) -> Any:
        with engine.begin() as connection:
            page = changes.read_changes(
                connection, changes.Cursor.read(cursor), limit=limit, questions_limit=questions_limit
            )
        learners = [ChangedLearner.model_validate(each).model_dump(mode="json") for each in page.learners]
        return {"learners": learners, "next": str(page.next), "more": page.more}

    return Reader(read)


def _stored(engine: Engine) -> Copy:
    copy: Copy = {}
    for row in rows(engine, StudyQuestionProgress):
        shown = ChangedQuestion.model_validate(
            {"question_id": row["study_question_id"]} | row, extra="ignore"
        )
        copy.setdefault(row["user_id"], {})[shown.question_id] = shown.model_dump(mode="json")
    return copy


def _by_question(copy: Copy) -> dict[tuple[int, int], Any]:
    return {
        (learner, question): each
        for learner, questions in copy.items()
        for question, each in questions.items()
    }
