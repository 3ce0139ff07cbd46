"""Which questions a session asks: a matter of chance or of need, and never of the database."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from shared.live.forms import MAX_QUESTIONS
from shared.live.sessions import Candidate, choose


def candidate(number: int, frequency: float | None = None, misses: int = 0, recall: float = 0.0) -> Candidate:
    return Candidate(number, "subject", frequency, misses, recall)


def ids(chosen: list[Candidate]) -> list[int]:
    return [each.question_id for each in chosen]


candidates = st.lists(
    st.builds(
        Candidate,
        st.integers(1, 10**6),
        st.sampled_from(["a", "b", "c"]),
        st.none() | st.sampled_from([0.0, 0.5, 3.0]),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.4, 0.9]),
    ),
    unique_by=lambda each: each.question_id,
)


@given(candidates, st.sampled_from(["random", "frequent_focus"]), st.integers(1, 5), st.integers())
def test_each_subject_is_asked_up_to_its_target_and_no_question_twice(
    offered: list[Candidate], mode: str, target: int, seed: int
) -> None:
    chosen = choose(offered, mode, target, Random(seed))  # type: ignore[arg-type]
    offers = Counter(each.subject for each in offered)
    assert Counter(each.subject for each in chosen) == {
        subject: min(count, target) for subject, count in offers.items()
    }
    assert set(ids(chosen)) <= set(ids(offered))
    assert len(set(ids(chosen))) == len(chosen)
    assert chosen == choose(offered, mode, target, Random(seed))  # type: ignore[arg-type]


def test_chance_reaches_every_question_in_every_place() -> None:
    offered = [candidate(number) for number in range(4)]
    orders = {tuple(ids(choose(offered, "random", 2, Random(seed)))) for seed in range(400)}
    assert orders == {(a, b) for a in range(4) for b in range(4) if a != b}


def test_focus_asks_what_exams_ask_often_and_then_what_is_known_least() -> None:
    offered = [
        candidate(1, misses=1, recall=0.9),
        candidate(2, 0.5),
        candidate(3, misses=1, recall=0.3),
        candidate(4, 0.7, recall=0.9),
        candidate(5, misses=4, recall=0.9),
        candidate(6, recall=0.2),
        candidate(7, 0.0),
        candidate(8, 0.5, misses=2),
    ]
    for seed in range(20):
        assert ids(choose(offered, "frequent_focus", 20, Random(seed))) == [4, 8, 2, 7, 5, 3, 1, 6]
    assert ids(choose(offered, "frequent_focus", 3, Random(1))) == [4, 8, 2]


def test_a_session_has_an_end() -> None:
    offered = [Candidate(number, f"subject {number}", None, 0, 0.0) for number in range(MAX_QUESTIONS + 9)]
    assert len(choose(offered, "random", 1, Random(1))) == MAX_QUESTIONS
