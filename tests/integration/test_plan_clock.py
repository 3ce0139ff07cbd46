"""Times are the answers', corrected where the viewer's clock is certainly wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from shared.models import StudyQuestionAttempt, StudyQuizSession
from tests.factories import ARRIVAL, WRONG, answer, ingest, load, progress, question, rows, upload

TAKEN = datetime(2026, 11, 20, 9, tzinfo=UTC)
DAY = timedelta(days=1)


pytestmark = pytest.mark.usefixtures("catalog")


def by_a_clock(ahead: timedelta, taken: datetime = TAKEN, selected: int = WRONG) -> dict[str, Any]:
    """Make an upload that a viewer with a wrong clock sends an hour after the answer."""
    shown = taken + ahead
    sent_at = shown + timedelta(hours=1)
    return upload(
        answer("q110", shown.isoformat(), selected),
        finished_at=(shown + timedelta(minutes=1)).isoformat(),
        sent_at=sent_at.isoformat(),
    )


def last_attempt(engine: Engine) -> tuple[datetime, datetime, bool]:
    kept = rows(engine, StudyQuestionAttempt)[-1]
    return kept["answered_at"], kept["answered_at_raw"], kept["clock_adjusted"]


def last_end(engine: Engine) -> datetime:
    end: datetime = rows(engine, StudyQuizSession)[-1]["finished_at"]
    return end


def test_a_fast_clock_is_set_right_and_the_raw_time_kept(engine: Engine) -> None:
    for ahead in (timedelta(seconds=60.001), timedelta(hours=2), 365 * 120 * DAY):
        ingest(engine, by_a_clock(ahead), TAKEN + timedelta(hours=1))
        assert last_attempt(engine) == (TAKEN, TAKEN + ahead, True)
        assert last_end(engine) == TAKEN + timedelta(minutes=1)


def test_a_slow_clock_or_a_small_difference_says_nothing(engine: Engine) -> None:
    for ahead in (timedelta(seconds=60), timedelta(0), timedelta(hours=-2), -9 * DAY):
        ingest(engine, by_a_clock(ahead), TAKEN + timedelta(hours=1))
        assert last_attempt(engine) == (TAKEN + ahead, TAKEN + ahead, False)


def test_an_outbox_may_send_days_later(engine: Engine) -> None:
    ingest(engine, by_a_clock(timedelta(0)), TAKEN + 9 * DAY)
    assert last_attempt(engine) == (TAKEN, TAKEN, False)


def test_no_answer_is_later_than_its_arrival(engine: Engine) -> None:
    tomorrow = (ARRIVAL + DAY).isoformat()
    for more in ({}, {"sent_at": ARRIVAL.isoformat()}):
        ingest(engine, upload(answer("q110", tomorrow), finished_at=tomorrow, **more), ARRIVAL)
        assert last_attempt(engine) == (ARRIVAL, ARRIVAL + DAY, True)
        assert last_end(engine) == ARRIVAL


def test_the_first_attempt_goes_by_raw_times(engine: Engine) -> None:
    later, sooner = (ARRIVAL + n * DAY for n in (2, 1))  # both are clamped to the arrival
    ingest(engine, upload(answer("q110", later.isoformat()), answer("q110", sooner.isoformat())), ARRIVAL)
    assert [row["counted"] for row in rows(engine, StudyQuestionAttempt)] == [False, True]


def test_an_impossible_time_is_skipped(engine: Engine) -> None:
    for at in ("1999-12-31T23:59:59.999999Z", "2100-01-01T00:00:00Z", "0001-01-02T00:00:00Z"):
        found = ingest(engine, upload(answer("q110", at), answer("q111", TAKEN.isoformat()), finished_at=at))
        assert found.result is not None
        assert found.result["attempts"][0] == {"pub_id": "q110", "status": "skipped", "reason": "bad_clock"}
        assert last_end(engine) == TAKEN  # an impossible end is none
    assert {row["study_question_id"] for row in rows(engine, StudyQuestionAttempt)} == {111}


def test_the_edges_of_what_is_possible_are_kept(engine: Engine) -> None:
    for at in (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC) - DAY):
        ingest(engine, upload(answer("q110", at.isoformat())), at + DAY)
        assert last_attempt(engine) == (at, at, False)


def test_a_correction_before_the_first_year_is_skipped_not_fatal(engine: Engine) -> None:
    at = "9000-01-01T00:00:00Z"
    found = ingest(engine, upload(answer("q110", "0001-01-02T00:00:00Z"), answer("q111", at), sent_at=at))
    assert found.status == "ingested"
    assert last_attempt(engine) == (ARRIVAL, datetime(9000, 1, 1, tzinfo=UTC), True)


def test_progress_recovers_from_a_fast_clock(engine: Engine) -> None:
    takes = [(TAKEN + n * DAY, WRONG if n == 1 else 1) for n in range(4)]

    def progress_of(ahead: timedelta) -> list[str]:
        for taken, selected in takes:
            ingest(
                engine,
                by_a_clock(ahead if taken == TAKEN else timedelta(0), taken, selected),
                taken + DAY / 24,
            )
        return progress(engine)

    wrong_clock = progress_of(300 * DAY)
    with engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE study_quiz_sessions, study_question_progress CASCADE")
    assert progress_of(timedelta(0)) == wrong_clock


@pytest.mark.parametrize(
    ("age", "published_at", "expected"),
    [
        (timedelta(days=730), None, (False, "counted")),
        (timedelta(days=730, microseconds=1), None, (True, "counted")),
        (timedelta(days=731), "2020-01-01T00:00:00Z", (False, "counted")),
        (timedelta(days=731), "2025-01-01T00:00:00Z", (None, "skipped")),
    ],
)
def test_a_clock_that_was_reset_is_refused_where_the_edition_has_a_date_and_flagged_where_not(
    engine: Engine, age: timedelta, published_at: str | None, expected: tuple[bool | None, str]
) -> None:
    load(engine, {"questions": [question(111, published_at=published_at)]})
    found = ingest(engine, upload(answer("q111", (ARRIVAL - age).isoformat())), ARRIVAL)
    assert found.result
    flags = [row["clock_adjusted"] for row in rows(engine, StudyQuestionAttempt)]
    assert (flags[0] if flags else None, found.result["attempts"][0]["status"]) == expected
