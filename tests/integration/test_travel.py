"""Each answer lies on its own local date; a learner's zone matters for the answers to come, and for today."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, update

from api.ops.learner import weeks
from shared.models import StudyQuestionAttempt, StudyQuestionProgress, User
from shared.ops.reports import report_learner
from tests.clients import Clock, Front
from tests.factories import (
    ANN,
    BEN,
    CHO,
    DEFAULT_ZONE,
    WRONG,
    answer,
    ingest,
    load,
    progress,
    rows,
    sound,
    upload,
)

# Evenings in Seoul and in Los Angeles, where it is still the day before, and in Seoul again.
JOURNEY = [
    ("2026-11-02T22:00:00+09:00", date(2026, 11, 2)),
    ("2026-11-03T02:00:00+09:00", date(2026, 11, 2)),
    ("2026-11-03T21:00:00-08:00", date(2026, 11, 3)),
    ("2026-11-04T03:59:00-08:00", date(2026, 11, 3)),
    ("2026-11-04T04:00:00-08:00", date(2026, 11, 4)),
    ("2026-11-09T08:00:00+09:00", date(2026, 11, 9)),
]


pytestmark = pytest.mark.usefixtures("catalog")


def journey(learner: int, *, in_utc: bool) -> list[dict[str, Any]]:
    times = [datetime.fromisoformat(at) for at, _ in JOURNEY]
    return [
        upload(
            answer(f"q{learner}10", f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if in_utc else at.isoformat())
        )
        for at in times
    ]


def dates(engine: Engine) -> list[date]:
    return [
        row["study_date"]
        for row in sorted(rows(engine, StudyQuestionAttempt), key=lambda r: r["answered_at"])
    ]


def move(engine: Engine, learner: int, zone: str | None) -> None:
    with engine.begin() as connection:
        connection.execute(update(User).where(User.id == learner).values(time_zone=zone))


def test_with_offsets_each_answer_lies_on_its_own_local_date(engine: Engine) -> None:
    for sent in reversed(journey(CHO, in_utc=False)):
        ingest(engine, sent)
    assert dates(engine) == [day for _, day in JOURNEY]
    assert [row["utc_offset"] for row in rows(engine, StudyQuestionAttempt)].count(-8 * 60) == 3
    assert sound(engine)


def test_with_z_each_answer_lies_on_the_date_of_the_learners_zone(engine: Engine) -> None:
    for sent in journey(CHO, in_utc=True):
        ingest(engine, sent)
    days = [2, 2, 4, 4, 4, 9]
    assert dates(engine) == [date(2026, 11, day) for day in days]
    assert {row["utc_offset"] for row in rows(engine, StudyQuestionAttempt)} == {None}
    assert sound(engine)


def test_a_change_of_zone_moves_later_answers_only(engine: Engine) -> None:
    first, *others = journey(CHO, in_utc=True)
    for sent in (first, *others[:3]):
        ingest(engine, sent)
    known, before = progress(engine), dates(engine)
    move(engine, CHO, "America/Los_Angeles")
    assert sound(engine)
    assert progress(engine) == known
    for sent in others[3:]:
        ingest(engine, sent)
    assert dates(engine) == [*before, date(2026, 11, 4), date(2026, 11, 8)]
    assert sound(engine)


def test_a_zone_of_a_catalog_moves_nothing_that_is_past(engine: Engine) -> None:
    for sent in journey(CHO, in_utc=True):
        ingest(engine, sent)
    known = progress(engine)
    load(engine, {"users": [{"id": CHO, "time_zone": "America/Los_Angeles"}]})
    assert progress(engine) == known
    assert sound(engine)


def test_a_zone_that_this_host_does_not_know_fails_nothing(
    engine: Engine, front: Front, clock: Clock
) -> None:
    for learner, zone in ((ANN, "Mars/Olympus_Mons"), (BEN, "../etc/passwd"), (CHO, "Asia")):
        move(engine, learner, zone)
    ingest(engine, upload(answer("q110", "2026-11-02T03:59:00Z", WRONG)))
    assert dates(engine) == [date(2026, 11, 1)]
    assert front.get("reviews").status_code == front.get("wrong-notes").status_code == 200
    front.sit(("q111", WRONG))
    assert len(rows(engine, StudyQuestionProgress)) == 2
    with engine.connect() as connection:
        report = report_learner(connection, ANN, now=clock.now, default_zone=DEFAULT_ZONE)
        assert weeks(report.calendar)
    assert sound(engine)
