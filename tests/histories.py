"""Learners' histories as Hypothesis makes them, and a runner that plays them: live, as uploads, or both."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import httpx
from hypothesis import strategies as st
from sqlalchemy import Engine

from cli.client import PATH
from shared.models import StudyQuestionAttempt, StudyQuizSession
from shared.study.store import COUNTS
from tests.clients import Clock, Front, started
from tests.factories import NO_CHOICE, RIGHT, WRONG, ZONES, forget, progress, rows, sound, work_off

START = datetime(2026, 10, 30, 12, tzinfo=UTC)
# Equal times, the pace of a sitting, and gaps across 04:00 of some zone or across the night in which New York
# sets its clock back.
GAPS = [timedelta(0), timedelta(seconds=40), timedelta(hours=7), timedelta(hours=20), timedelta(days=3)]
CLOSED = ["study_topic_id", "status", "finished_at", *COUNTS]
KEPT = [
    "study_question_id",
    "selected",
    "unsure",
    "outcome",
    "rating",
    "counted",
    "answered_at",
    "answered_at_raw",
    "clock_adjusted",
]
LISTS: list[tuple[str, dict[str, str]]] = [
    ("sessions", {}),
    ("wrong-notes", {"state": "open"}),
    ("wrong-notes", {"state": "closed"}),
    ("reviews", {"due_before": "2100-01-01"}),
]
# Left out of the comparison: ids, source and the server's own times.
ASIDE = {"session_id", "source", "created_at"}


@dataclass(frozen=True)
class Answer:
    """An answer; `after` is the time since the answer before it."""

    number: int
    pub_id: str
    selected: int | None
    unsure: bool
    after: timedelta


Sitting = list[Answer]


@st.composite
def sittings(draw: st.DrawFn, learner: int) -> Sitting:
    """Make one sitting, with no question twice, as in a live session."""
    numbers = draw(st.lists(st.sampled_from([10, 11, 20]), min_size=1, unique=True))
    names = {10: [f"q{learner}10", f"second{learner}10"], 11: [f"q{learner}11"], 20: [f"q{learner}20"]}
    return [
        Answer(
            100 * learner + number,
            draw(st.sampled_from(names[number])),
            draw(st.sampled_from([RIGHT, RIGHT, WRONG, NO_CHOICE])),
            draw(st.booleans()),
            draw(st.sampled_from(GAPS)),
        )
        for number in numbers
    ]


@dataclass(frozen=True)
class Runner:
    """Where histories are played: a web process, a database, and the clock of both."""

    web: httpx.Client
    engine: Engine
    clock: Clock

    def play(self, learner: int, history: list[Sitting], ways: list[bool]) -> str:
        """Play a learner's sittings in order, each live or as an upload; return what `left` reads."""
        forget(self.engine)
        self.clock.now = START
        for sitting, live in zip(history, ways, strict=True):
            (self.live if live else self.upload)(Front(self.web, learner), sitting)
        return self.left(Front(self.web, learner))

    def play_late(self, learner: int, history: list[Sitting], ways: list[bool], rng: Random) -> list[str]:
        """Play as `play` does, but send all uploads at the end, in any order; return the progress."""
        forget(self.engine)
        self.clock.now = START
        front = Front(self.web, learner)
        outbox = []
        for sitting, live in zip(history, ways, strict=True):
            if live:
                self.live(front, sitting)
            else:
                outbox.append(self.offline(sitting))
        for sent in rng.sample(outbox, len(outbox)):
            self.send(front, sent)
        assert sound(self.engine)
        return progress(self.engine)

    def live(self, front: Front, sitting: Sitting) -> None:
        sessions: dict[int, int] = {}
        for answer in sitting:
            topic = answer.number // 10
            sessions[topic] = sessions.get(topic) or started(front.start(topic))
            self.clock.now += answer.after
            given = front.answer(sessions[topic], answer.pub_id, answer.selected, unsure=answer.unsure)
            assert given.status_code == 200
        for session in sessions.values():
            assert front.finalize(session).status_code == 200

    def upload(self, front: Front, sitting: Sitting) -> None:
        self.send(front, self.offline(sitting))

    def offline(self, sitting: Sitting) -> dict[str, Any]:
        attempts = []
        for answer in sitting:
            self.clock.now += answer.after
            said = {"pub_id": answer.pub_id, "selected": answer.selected, "unsure": answer.unsure}
            attempts.append(said | {"answered_at": self.clock.now.isoformat()})
        sat = {"client_session_uuid": str(uuid4()), "attempts": attempts}
        return sat | {"finished_at": self.clock.now.isoformat()}

    def send(self, front: Front, sent: dict[str, Any]) -> None:
        assert front.web.post(PATH, json=sent).status_code == 202
        work_off(self.engine, sent)

    def left(self, front: Front) -> str:
        sessions = rows(self.engine, StudyQuizSession)
        places = {session["id"]: place for place, session in enumerate(sessions)}
        attempts = [
            [places[attempt["study_quiz_session_id"]], *map(attempt.get, KEPT)]
            for attempt in rows(self.engine, StudyQuestionAttempt)
        ]
        left = {
            "sessions": [[session[name] for name in CLOSED] for session in sessions],
            "attempts": sorted(attempts),
            "progress": progress(self.engine),
            "shown": self.shown(front),
        }
        return json.dumps(left, default=str, indent=1)

    def shown(self, front: Front) -> list[list[dict[str, Any]]]:
        lists = [front.get(path, limit=100, **query).json() for path, query in LISTS]
        lists += [front.get(f"topics/{front.learner}{n}/weak-areas").json() for n in (1, 2)]
        assert all(each.get("next_cursor") is None for each in lists)
        return [[_plain(item) for item in each["items"]] for each in lists]


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ASIDE}


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[Sitting], list[bool]]:
    """Make a learner's sittings, and which of them are live in a mix."""
    learner = draw(st.sampled_from(list(ZONES)))
    history = draw(st.lists(sittings(learner), min_size=1, max_size=4))
    return learner, history, draw(st.lists(st.booleans(), min_size=len(history), max_size=len(history)))
