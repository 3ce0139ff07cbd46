"""One upload, opened: what it says, what the catalog knows of it, and what it will become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from shared.payload.upload import Upload
from shared.plan import SKIPPED, Fate, Plan, Question
from shared.uploads.record import Waiting


@dataclass(frozen=True)
class Case:
    """An upload with all that its replay decides on."""

    waiting: Waiting
    upload: Upload
    questions: Mapping[str, Question]
    plan: Plan

    @cached_property
    def owners(self) -> set[int]:
        """Return the learners to whom the questions belong."""
        return {question.user_id for question in self.questions.values()}

    @property
    def learner(self) -> int | None:
        """Return the owner, if there is but one."""
        return next(iter(self.owners)) if len(self.owners) == 1 else None

    @property
    def reviewed(self) -> set[int]:
        """Return the questions whose progress it moves."""
        return {attempt.question.id for attempts in self.plan.topics.values() for attempt in attempts}

    @property
    def refusal(self) -> str | None:
        """Return the stable code of why this upload cannot succeed as things stand."""
        if not self.questions:
            return "unknown_questions"
        if len(self.owners) > 1:
            return "mixed_owners"
        return None if self.plan.topics else "no_usable_attempt"

    def result(
        self, snapshots: Sequence[Mapping[str, Any]] = (), due: Mapping[int, date] | None = None
    ) -> dict[str, Any]:
        """Tell what became of the upload, as JSON values; `due` maps question ids to their new days."""
        days = due or {}
        return {
            "topics": [dict(snapshot) for snapshot in snapshots],
            "attempts": [
                {"pub_id": attempt.pub_id} | _told(fate)
                for attempt, fate in zip(self.upload.attempts, self.plan.fates, strict=True)
            ],
            "questions": [
                {"pub_id": pub_id, "due": days[question.id].isoformat()}
                for pub_id, question in sorted(self.questions.items())
                if question.id in days
            ],
        }


def _told(fate: Fate) -> dict[str, str]:
    return {"status": "skipped", "reason": fate} if fate in SKIPPED else {"status": fate}
