"""The count at the end: what was accepted against what there is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text

from shared.study.finalize import verify
from tests.chaos.follower import Follower
from tests.chaos.load import Accepted
from tests.factories import TOPICS

_INGESTED = text("SELECT CAST(client_session_uuid AS text) FROM uploads WHERE status = 'ingested'")
_KEPT = text("""
    SELECT s.client_session_uuid, count(DISTINCT s.id), count(a.study_quiz_session_id)
    FROM study_quiz_sessions s
    LEFT JOIN study_question_attempts a ON a.user_id = s.user_id AND a.study_quiz_session_id = s.id
    GROUP BY 1
""")

Rows = tuple[int, int]  # sessions and attempts


@dataclass(frozen=True, slots=True)
class Count:
    """What went wrong: the uuids of uploads, and the number of questions whose progress is not the fold.

    `lost`: accepted, and not ingested or not whole. `double`: with more sessions or attempts than it has.
    `reader_differences`: questions whose progress a reader of the changes knows otherwise.
    """

    lost: set[str]
    double: set[str]
    verify_differences: int
    reader_differences: int


def count(engine: Engine, accepted: Mapping[str, Accepted], follower: Follower) -> Count:
    """Count every row; the system is at rest."""
    with engine.connect() as connection:
        ingested = set(connection.execute(_INGESTED).scalars())
        kept = {uuid: (sessions, attempts) for uuid, sessions, attempts in connection.execute(_KEPT)}
    due = {uuid: _rows(each.upload) for uuid, each in accepted.items()}
    return Count(
        lost={uuid for uuid in due if uuid not in ingested or _any_less(kept.get(uuid, (0, 0)), due[uuid])},
        double={uuid for uuid in kept if _any_less(due.get(uuid, (0, 0)), kept[uuid])},
        verify_differences=sum(len(each.differing) for each in verify(engine)),
        reader_differences=follower.differences(engine),
    )


def _rows(upload: Mapping[str, Any]) -> Rows:
    """Return the rows that a made upload has to leave: a session a topic, and every attempt."""
    numbers = [int(attempt["pub_id"].rsplit("-")[-1]) for attempt in upload["attempts"]]
    return len({number % TOPICS for number in numbers}), len(numbers)


def _any_less(some: Iterable[int], others: Iterable[int]) -> bool:
    return any(one < other for one, other in zip(some, others, strict=True))
