"""What progress must be: the rules of docs/learning.md written a second time, with fsrs alone.

It imports nothing of the project, and its author did not read `shared.study`: so it does not copy mistakes
from there. It expects times that need no correction, and sessions neither rejected nor voided.

Where the rules leave room, this is how they are read here:

- The first answer to a question in a session is the earliest; of two at the same time, the one listed first.
  Two editions of a question are one question.
- A date never goes back, for any rule: elapsed days, the due date, `due_at_most` and the two dates on which a
  wrong note closes all use the latest date so far where an answer's own date lies before it.
- Elapsed days run from the latest answer folded, practice included; before the first answer there are none.
- Practice moves the due date too: it follows from the stability, from the date of the practice on.
  `due_at_most` holds until the next counted answer. Practice after 4 a.m. in a session that began the day
  before is a review on a later date like any other.
- `(answered_at, practice after counted, rating, outcome)` does not order two answers of the same moment that
  were sent with different offsets. The earlier study date goes first.
- The current edition has the newest `published_at`; an edition without one counts as the oldest. Of several
  newest editions, the one with the smallest `pub_id` is current.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fsrs import Card, Rating, Scheduler

NIGHT = timedelta(hours=4)
SCHEDULER = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)


@dataclass(frozen=True)
class Attempt:
    """One answer; `answered_at` has the offset that the viewer sent."""

    selected: int | None
    unsure: bool
    answered_at: datetime
    correct_choice: int
    counted: bool

    @property
    def outcome(self) -> str:
        if self.unsure or self.selected is None:
            return "unsure"
        return "correct" if self.selected == self.correct_choice else "wrong"

    @property
    def rating(self) -> Rating:
        if self.selected != self.correct_choice:
            return Rating.Again
        return Rating.Hard if self.unsure else Rating.Good

    def study_date(self, zone: tzinfo) -> date:
        """Return the date of the local wall clock 4 hours earlier; an offset of zero counts as none."""
        local = self.answered_at if self.answered_at.utcoffset() else self.answered_at.astimezone(zone)
        return (local.replace(tzinfo=None) - NIGHT).date()


@dataclass(frozen=True)
class Line:
    """One line of `study-ingest progress`."""

    pub_id: str
    stability: float
    difficulty: float
    due: date
    last_answered_at: datetime
    reviews: int
    misses: int
    miss_streak: int
    correct_streak: int
    wrong_note: str


def progress(pub_id: str, attempts: Iterable[Attempt], zone: tzinfo) -> Line:
    """Fold one learner's attempts at one question; `zone` is used where no offset was sent."""
    card = Card(card_id=1)
    today = date.min
    due_at_most = None
    reviews = misses = miss_streak = correct_streak = 0
    wrong_note, correct_since = "none", date.min
    for each in sorted(
        attempts,
        key=lambda each: (
            each.answered_at,
            not each.counted,
            each.rating,
            each.outcome,
            each.study_date(zone),
        ),
    ):
        before, today = today, max(today, each.study_date(zone))
        elapsed = (today - before).days if card.last_review else 0
        card, _ = SCHEDULER.review_card(card, each.rating, datetime.combine(today, time(), UTC))
        last_answered_at = each.answered_at.astimezone(UTC)
        if not each.counted:
            continue
        reviews += 1
        due_at_most = None
        if each.rating == Rating.Again:
            misses += 1
            miss_streak, correct_streak = miss_streak + 1, 0
            wrong_note = "open"
        elif each.rating == Rating.Hard:
            miss_streak = correct_streak = 0
            wrong_note = "open"
            due_at_most = today + timedelta(days=max(1, elapsed // 2))
        else:
            correct_since = correct_since if correct_streak else today
            miss_streak, correct_streak = 0, correct_streak + 1
            if wrong_note == "open" and correct_since < today:
                wrong_note = "closed"
    assert card.stability is not None
    assert card.difficulty is not None
    due = min(card.due.date(), due_at_most or date.max)
    counts = reviews, misses, miss_streak, correct_streak
    return Line(pub_id, card.stability, card.difficulty, due, last_answered_at, *counts, wrong_note)


def expected(catalog: Path, uploads: Path, user_id: int, default_zone: str = "UTC") -> list[Line]:
    """Work out a learner's progress from a catalog file and the sent uploads, one JSON object per line.

    Any order and repeats are allowed: of each `client_session_uuid`, the first upload counts.
    """
    described = json.loads(catalog.read_text())
    editions: dict[str, tuple[int, int]] = {}  # pub_id: question, right choice
    published: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for question in described["questions"]:
        if question["user_id"] == user_id:
            for edition in question.get("editions", [question]):
                editions[edition["pub_id"]] = question["id"], edition["correct_choice"]
                published[question["id"]].append(edition)
    attempts: defaultdict[int, list[Attempt]] = defaultdict(list)
    for question_id, attempt in _attempts(uploads, editions):
        attempts[question_id].append(attempt)
    learner = next(each for each in described["users"] if each["id"] == user_id)
    zone = _zone(learner.get("time_zone"), default_zone)
    lines = [progress(_current(published[id_]), log, zone) for id_, log in attempts.items()]
    return sorted(lines, key=lambda line: line.pub_id)


def printed(output: str) -> list[Line]:
    """Read what `study-ingest progress` printed: one JSON object per line."""
    lines = (json.loads(line) for line in output.splitlines())
    return [
        Line(
            **line
            | {
                "due": date.fromisoformat(line["due"]),
                "last_answered_at": datetime.fromisoformat(line["last_answered_at"]),
            }
        )
        for line in lines
    ]


def _attempts(uploads: Path, editions: dict[str, tuple[int, int]]) -> Iterator[tuple[int, Attempt]]:
    """Yield each answer to a known question, with the question's id; a session's first one is counted."""
    sessions: dict[str, list[dict[str, Any]]] = {}
    for line in uploads.read_text().splitlines():
        upload = json.loads(line)
        sessions.setdefault(upload["client_session_uuid"], upload["attempts"])
    for answers in sessions.values():
        asked = set()
        for answer in sorted(answers, key=lambda answer: datetime.fromisoformat(answer["answered_at"])):
            if answer["pub_id"] not in editions:
                continue
            question, key = editions[answer["pub_id"]]
            answered_at = datetime.fromisoformat(answer["answered_at"])
            first = question not in asked
            yield (
                question,
                Attempt(answer.get("selected"), answer.get("unsure", False), answered_at, key, counted=first),
            )
            asked.add(question)


def _current(editions: list[dict[str, Any]]) -> str:
    """Return the `pub_id` of a question's newest edition."""
    newest = max(map(_published_at, editions))
    pub_ids: list[str] = [each["pub_id"] for each in editions if _published_at(each) == newest]
    return min(pub_ids)


def _published_at(edition: dict[str, Any]) -> datetime:
    text = edition.get("published_at")
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def _zone(named: str | None, default: str) -> ZoneInfo:
    """Return the learner's zone; where there is none, or none that this host knows, the default."""
    try:
        return ZoneInfo(named or default)
    except ZoneInfoNotFoundError:
        return ZoneInfo(default)
