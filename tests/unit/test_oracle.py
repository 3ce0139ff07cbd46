"""The oracle's own examples, worked by hand from docs/learning.md and FSRS-6's default parameters."""

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import permutations
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fsrs.scheduler import DEFAULT_PARAMETERS

from tests.oracle import Attempt, Line, expected, printed, progress

SEOUL = ZoneInfo("Asia/Seoul")
RIGHT, WRONG = 1, 2
DAY_ONE = datetime(2026, 3, 1, 12, tzinfo=SEOUL)
LETTERS = {"r": (RIGHT, False), "w": (WRONG, False), "u": (RIGHT, True)}


def answers(letters: str, days: list[int]) -> list[Attempt]:
    """Make answers on these days, a minute between them; a capital letter is practice."""
    return [
        Attempt(
            *LETTERS[letter.lower()], DAY_ONE + timedelta(day, minutes=place), RIGHT, counted=letter.islower()
        )
        for place, (letter, day) in enumerate(zip(letters, days, strict=True))
    ]


def right(answered_at: datetime) -> Attempt:
    return Attempt(RIGHT, unsure=False, answered_at=answered_at, correct_choice=RIGHT, counted=True)


def line(letters: str, days: list[int]) -> Line:
    return progress("q", answers(letters, days), SEOUL)


@pytest.mark.parametrize(
    ("answered_at", "study_date"),
    [
        ("2026-03-02T03:59:59+09:00", date(2026, 3, 1)),
        ("2026-03-02T04:00:00+09:00", date(2026, 3, 2)),
        ("2026-03-01T18:59:59Z", date(2026, 3, 1)),
        ("2026-03-01T19:00:00+00:00", date(2026, 3, 2)),
        ("2026-03-01T23:00:00-08:00", date(2026, 3, 1)),
    ],
)
def test_a_study_date(answered_at: str, study_date: date) -> None:
    assert right(datetime.fromisoformat(answered_at)).study_date(SEOUL) == study_date


def test_the_hours_are_taken_from_the_wall_clock() -> None:
    """At 04:30 on the night when clocks go forward, four hours earlier by the sun is the evening before."""
    attempt = right(datetime.fromisoformat("2026-03-08T11:30:00Z"))
    assert attempt.study_date(ZoneInfo("America/Los_Angeles")) == date(2026, 3, 8)


@pytest.mark.parametrize(
    ("letters", "days", "note", "misses", "miss_streak", "correct_streak"),
    [
        ("r", [0], "none", 0, 0, 1),
        ("ww", [0, 1], "open", 2, 2, 0),
        ("wrr", [0, 1, 1], "open", 1, 0, 2),
        ("wrrr", [0, 1, 1, 2], "closed", 1, 0, 3),
        ("wrru", [0, 1, 2, 3], "open", 1, 0, 0),
        ("wru", [0, 1, 2], "open", 1, 0, 0),
        ("wrur", [0, 1, 2, 3], "open", 1, 0, 1),
        ("wRR", [0, 1, 2], "open", 1, 1, 0),
        ("rW", [0, 0], "none", 0, 0, 1),
    ],
)
def test_counts_and_note(  # noqa: PLR0917
    letters: str, days: list[int], note: str, misses: int, miss_streak: int, correct_streak: int
) -> None:
    known = line(letters, days)
    counts = (known.misses, known.miss_streak, known.correct_streak)
    assert (known.wrong_note, *counts) == (note, misses, miss_streak, correct_streak)
    assert known.reviews == sum(letter.islower() for letter in letters)


@pytest.mark.parametrize(
    ("letters", "days", "due"),
    [
        ("r", [0], 2),  # stability 2.31
        ("u", [0], 1),
        ("ru", [0, 9], 9 + 4),
        ("ruR", [0, 9, 9], 9 + 4),  # practice does not end it
        ("rur", [0, 9, 9], 9 + 15),  # the next counted answer does
    ],
)
def test_due(letters: str, days: list[int], due: int) -> None:
    assert (line(letters, days).due - DAY_ONE.date()).days == due


def test_practice_moves_memory() -> None:
    once, twice = line("w", [0]), line("wR", [0, 0])
    assert once.stability == DEFAULT_PARAMETERS[0]
    assert twice.stability > once.stability
    assert twice.last_answered_at - once.last_answered_at == timedelta(minutes=1)


def test_a_date_never_goes_back() -> None:
    """The learner flew from Seoul to Los Angeles: the second answer is later, its date is not."""
    later = DAY_ONE + timedelta(hours=2)
    there = progress("q", [right(DAY_ONE), right(later.astimezone(ZoneInfo("America/Los_Angeles")))], SEOUL)
    assert there == progress("q", [right(DAY_ONE), right(later)], SEOUL)


def test_ties_do_not_depend_on_the_order_of_arrival() -> None:
    """Three answers at one moment, two alike but for their offset, which gives them other study dates."""
    moment = datetime.fromisoformat("2026-03-02T01:00:00+09:00")
    tied = [right(moment), right(moment.astimezone(ZoneInfo("Pacific/Auckland")))]
    tied.append(replace(tied[0], selected=WRONG))
    assert len({progress("q", order, SEOUL) for order in permutations(tied)}) == 1


def test_uploads_are_read_once_and_graded_by_their_edition(tmp_path: Path) -> None:
    editions = [
        {"pub_id": "old", "choices": ["a", "b"], "correct_choice": 0},
        {"pub_id": "new", "choices": ["b", "a"], "correct_choice": 1, "published_at": "2026-03-01T00:00:00Z"},
    ]
    catalog, uploads = tmp_path / "catalog.json", tmp_path / "uploads.ndjson"
    users = [{"id": 7, "time_zone": "Nowhere/Unknown"}]
    catalog.write_text(
        json.dumps({"users": users, "questions": [{"id": 1, "user_id": 7, "editions": editions}]})
    )
    late = {"selected": 0, "unsure": False, "answered_at": "2026-03-02T10:00:00+09:00"}
    sent = [
        {"client_session_uuid": "1", "attempts": [late | {"pub_id": "old"}, late | {"pub_id": "new"}]},
        {"client_session_uuid": "2", "attempts": [late | {"pub_id": "new"}]},
    ]
    uploads.write_text("".join(json.dumps(upload) + "\n" for upload in (*sent, *sent)))
    (only,) = expected(catalog, uploads, 7)
    assert (only.pub_id, only.reviews, only.misses) == ("new", 2, 1)
    shown = {
        name: str(value) if name in {"due", "last_answered_at"} else value
        for name, value in vars(only).items()
    }
    assert printed(json.dumps(shown)) == [only]
