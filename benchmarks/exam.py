"""`python -m benchmarks exam`: marks known on the day of a simulated exam, by how questions were chosen.

A learner answers 30 of 600 questions a day for 60 days. FSRS-6, with its default parameters, is the truth: a
question is answered right with the probability of its recall that day, a new one with that of a guess. The
exam is on the day after the last. The share of marks known is the mean probability of a right answer then,
weighted by how often exams ask each question. The choice of questions uses only what the project knows:
progress, and exam frequencies, of which some are unknown.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import mean

import click
from fsrs import Card, Rating, Scheduler

QUESTIONS, TOPICS = 600, 8
DAYS, ANSWERS_A_DAY = 60, 30
NEW_PER_SESSION = 10
GUESS = 0.25  # one of four choices
UNKNOWN = 0.2  # share of the questions without a known exam frequency
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULER = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)


@dataclass(slots=True)
class Question:
    """One question; `marks` is how often exams ask it in truth, `exam_frequency` what the catalog says."""

    topic: int
    marks: float
    exam_frequency: float | None
    card: Card = field(default_factory=lambda: Card(1))

    def recall(self, now: datetime) -> float:
        """Return the recall by FSRS; 0 if the question was never asked."""
        return SCHEDULER.get_card_retrievability(self.card, now)

    def known(self, now: datetime) -> float:
        """Return how likely a right answer is."""
        return self.recall(now) if self.card.last_review else GUESS


Chooser = Callable[[Sequence[Question], datetime, Random], list[Question]]


def random(questions: Sequence[Question], _: datetime, rng: Random) -> list[Question]:
    return rng.sample(questions, ANSWERS_A_DAY)


def frequency_alone(questions: Sequence[Question], _: datetime, rng: Random) -> list[Question]:
    frequency = frequencies(questions)
    return sorted(questions, key=lambda each: (-frequency(each), rng.random()))[:ANSWERS_A_DAY]


def frequent_focus(questions: Sequence[Question], now: datetime, rng: Random) -> list[Question]:
    """Choose the questions with the highest `exam frequency * (1 - recall)`; chance decides ties."""
    frequency = frequencies(questions)

    def key(question: Question) -> tuple[float, float]:
        return -frequency(question) * (1 - question.recall(now)), rng.random()

    return sorted(questions, key=key)[:ANSWERS_A_DAY]


def due(questions: Sequence[Question], now: datetime, rng: Random) -> list[Question]:
    """Choose due questions, the oldest first, then some new questions in the order of `frequent_focus`."""
    asked = [each for each in questions if each.card.last_review and each.card.due <= now]
    new = frequent_focus([each for each in questions if not each.card.last_review], now, rng)
    asked.sort(key=lambda each: (each.card.due, rng.random()))
    return [*asked, *new[:NEW_PER_SESSION]][:ANSWERS_A_DAY]


CHOOSERS: Mapping[str, Chooser] = {
    "random": random,
    "frequency alone": frequency_alone,
    "frequent_focus": frequent_focus,
    "due": due,
}


def frequencies(questions: Sequence[Question]) -> Callable[[Question], float]:
    """Return a function of a question: its exam frequency or, if unknown, the mean of its topic.

    In a topic without any known frequency, each question counts as 1, so that recall decides.
    """
    known: defaultdict[int, list[float]] = defaultdict(list)
    for question in questions:
        if question.exam_frequency is not None:
            known[question.topic].append(question.exam_frequency)
    means = {topic: mean(values) for topic, values in known.items()}

    def frequency(question: Question) -> float:
        if question.exam_frequency is None:
            return means.get(question.topic, 1)
        return question.exam_frequency

    return frequency


def make_questions(rng: Random) -> list[Question]:
    """Make questions of which a few are asked often: the most asked fifth has about half of the marks."""
    questions = []
    for _ in range(QUESTIONS):
        marks = rng.betavariate(0.8, 3)
        questions.append(Question(rng.randrange(TOPICS), marks, None if rng.random() < UNKNOWN else marks))
    return questions


def marks_known(choose: Chooser, seed: int) -> tuple[float, int]:
    """Study until the exam; return the share of marks known, and how many questions were ever asked."""
    rng = Random(seed)  # noqa: S311  # made data is meant to be the same every time
    questions = make_questions(rng)
    for day in range(DAYS):
        now = FIRST_DAY + timedelta(day)
        for question in choose(questions, now, rng):
            right = rng.random() < question.known(now)
            rating = Rating.Good if right else Rating.Again
            question.card, _ = SCHEDULER.review_card(question.card, rating, now)
    exam = FIRST_DAY + timedelta(DAYS)
    marks = sum(each.marks * each.known(exam) for each in questions) / sum(each.marks for each in questions)
    return marks, sum(each.card.last_review is not None for each in questions)


@click.command()
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Number of simulated learners."
)
def main(seeds: int) -> None:
    """Print a table of the share of marks known on exam day: the mean, and that of each learner."""
    click.echo("| questions chosen by | marks known | of each learner | questions ever asked |")
    click.echo("| --- | --- | --- | --- |")
    for name, choose in CHOOSERS.items():
        marks, asked = zip(*(marks_known(choose, seed) for seed in range(seeds)), strict=True)
        each = ", ".join(f"{share:.1%}" for share in marks)
        click.echo(f"| {name} | {mean(marks):.1%} | {each} | {mean(asked):.0f} |")
