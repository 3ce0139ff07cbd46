"""A question of a live session is answered once."""

import pytest
from sqlalchemy import Engine

from shared.errors import CatalogError
from shared.models import StudyQuestionAttempt
from tests.clients import Clock, Front, refusal, rfc3339, started
from tests.factories import NO_CHOICE, RIGHT, WRONG, load, question, rows


def test_no_answer_shows_which_choice_is_right(front: Front) -> None:
    session = started(front.start())
    texts = [
        front.start().text,
        front.answer(session, "q110", WRONG).text,
        front.get(f"sessions/{session}").text,
    ]
    texts += [front.finalize(session).text, front.get(f"sessions/{session}").text]
    assert all('"correct_choice"' not in text for text in texts)
    shown = {each["pub_id"]: each for each in front.read(session)["questions"]}
    assert shown["q110"].keys() == {"ordinal", "pub_id", "subject", "choices", "answer"}
    assert shown["q110"]["answer"].keys() == {"selected", "unsure", "outcome", "answered_at"}
    assert shown["q111"]["answer"] is None


@pytest.mark.parametrize(
    ("selected", "unsure", "graded"),
    [
        (RIGHT, False, ("correct", 3)),
        (RIGHT, True, ("unsure", 2)),
        (WRONG, False, ("wrong", 1)),
        (WRONG, True, ("unsure", 1)),
        (NO_CHOICE, False, ("unsure", 1)),
    ],
)
def test_I7_an_answer_is_graded_by_the_one_grader(
    front: Front,
    engine: Engine,
    clock: Clock,
    *,
    selected: int | None,
    unsure: bool,
    graded: tuple[str, int],
) -> None:
    session = front.start().json()
    place = [each["pub_id"] for each in session["questions"]].index("q110")
    now = clock.advance(minutes=3)

    reply = front.answer(session["session_id"], "q110", selected, unsure=unsure).json()

    assert reply == {
        "pub_id": "q110",
        "ordinal": place,
        "selected": selected,
        "unsure": unsure,
        "outcome": graded[0],
        "answered_at": rfc3339(now),
    }
    (row,) = rows(engine, StudyQuestionAttempt)
    assert ((row["outcome"], row["rating"]), row["counted"], row["ordinal"]) == (graded, True, place)
    assert (row["answered_at"], row["answered_at_raw"], row["clock_adjusted"]) == (now, now, False)


def test_the_same_answer_again_is_answered_alike_and_leaves_nothing(
    front: Front, engine: Engine, clock: Clock
) -> None:
    session = started(front.start())
    first = front.answer(session, "q110", WRONG)
    clock.advance(hours=1)
    assert front.answer(session, "q110", WRONG).content == first.content
    assert len(rows(engine, StudyQuestionAttempt)) == 1


@pytest.mark.parametrize(("selected", "unsure"), [(RIGHT, False), (WRONG, True), (NO_CHOICE, False)])
def test_another_answer_is_409_and_the_first_stands(
    front: Front, engine: Engine, *, selected: int | None, unsure: bool
) -> None:
    session = started(front.start())
    front.answer(session, "q110", WRONG)
    assert refusal(front.answer(session, "second110", selected, unsure=unsure)) == (409, "already-answered")
    (row,) = rows(engine, StudyQuestionAttempt)
    assert (row["selected"], row["unsure"]) == (WRONG, False)


def test_the_same_choice_of_another_edition_is_another_answer(front: Front, engine: Engine) -> None:
    """With its choices in another order, the same place holds another choice."""
    load(engine, {"questions": [question(110, "moved110", choices=["b", "a", "c", "d"], correct_choice=0)]})
    session = started(front.start())
    front.answer(session, "q110", RIGHT)
    assert refusal(front.answer(session, "moved110", RIGHT)) == (409, "already-answered")
    (row,) = rows(engine, StudyQuestionAttempt)
    assert (row["pub_id"], row["outcome"]) == ("q110", "correct")


def test_the_cursor_is_the_first_place_without_an_answer(front: Front) -> None:
    session = front.start().json()
    first, second = (each["pub_id"] for each in session["questions"])
    front.answer(session["session_id"], second)
    assert front.read(session["session_id"])["cursor"] == 0
    front.answer(session["session_id"], first)
    assert front.read(session["session_id"])["cursor"] == 2


def test_an_answer_of_a_running_session_is_regraded_like_any_other(front: Front, engine: Engine) -> None:
    session = started(front.start())
    front.answer(session, "q110", RIGHT)
    load(engine, {"questions": [question(110, correct_choice=WRONG)]}, force=True)
    assert front.finalize(session).json()["snapshot"]["wrong_count"] == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"choices": ["b", "a", "c", "d"], "correct_choice": 0},
        {"choices": ["b", "a", "c", "d"]},
        {"choices": ["B", "A", "C", "D"], "correct_choice": 0},
        {"choices": ["b", "a", "c", "d, corrected"]},
    ],
)
def test_a_load_moves_no_choice_of_a_question_that_is_being_asked(
    front: Front, engine: Engine, changed: dict[str, object]
) -> None:
    session = started(front.start())
    catalog = {"questions": [question(111, **changed)]}
    with pytest.raises(CatalogError, match=r"q111: .*; 1 live sessions are asking it; never answered"):
        load(engine, catalog)
    assert front.answer(session, "q111", RIGHT).json()["outcome"] == "correct"


def test_a_load_moves_no_choice_of_an_edition_that_was_shown_before_a_newer_one(
    front: Front, engine: Engine
) -> None:
    front.start()
    load(engine, {"questions": [question(111, "newer111", published_at="2026-01-01T00:00:00Z")]})
    moved = {"questions": [question(111, choices=["b", "a", "c", "d"], correct_choice=0)]}
    with pytest.raises(CatalogError, match="1 live sessions are asking it"):
        load(engine, moved)
    load(engine, moved, force=True)


def test_a_load_may_correct_a_question_that_is_being_asked(front: Front, engine: Engine) -> None:
    session = started(front.start())
    load(engine, {"questions": [question(111, choices=["a", "B", "c", "d"])]})
    load(engine, {"questions": [question(111, choices=["a", "B", "c", "d"], correct_choice=WRONG)]})
    assert front.answer(session, "q111", WRONG).json()["outcome"] == "correct"


def test_a_load_may_move_the_choices_of_a_question_that_is_asked_no_more(
    front: Front, engine: Engine
) -> None:
    front.finalize(started(front.start()))
    load(engine, {"questions": [question(111, choices=["b", "a", "c", "d"], correct_choice=0)]})
