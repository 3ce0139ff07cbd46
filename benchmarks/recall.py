"""`python -m benchmarks recall REVIEW_LOG.csv`: how well recall is predicted, for each definition of a day.

The log is one learner's, with the columns card_id, review_rating (1 forgot, 2 hard, 3 good, 4 easy) and
review_time (RFC 3339); the log that is published with the tests of py-fsrs can be used. For every row of the
printed table, FSRS-6 with its default parameters gets the same reviews under other dates. Every row predicts
the same reviews: those on a later study date than the card's review before.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from statistics import mean
from zoneinfo import ZoneInfo

import click
from fsrs import Card, Rating, Scheduler

NIGHT = timedelta(hours=4)  # shared.study: a study date ends then
PAUSE = timedelta(minutes=30)  # ends a sitting, in which a card's second review is practice
# The least probability that a prediction may give to what happened. Only clocks by which no day passes
# overnight give less: with a smaller bound their loss rises, and that of study dates stays.
LEAST = 0.01
SPLITS = 5
SCHEDULER = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)

Clock = Callable[[datetime], datetime]


@dataclass(frozen=True, slots=True)
class Review:
    """A row of the log."""

    card: int
    rating: Rating
    at: datetime
    practice: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """The recall that FSRS predicted for a review on a later study date, and whether it was recalled."""

    card: int
    recall: float
    recalled: bool

    @property
    def loss(self) -> float:
        return -math.log(max(LEAST, self.recall if self.recalled else 1 - self.recall))


@click.command()
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--zone", default="America/Los_Angeles", show_default=True, help="Time zone of the learner.")
def main(log: Path, zone: str) -> None:
    """Print a table of log losses: lower is better."""
    reviews = read(log)
    days = study_days(ZoneInfo(zone))
    asked = [
        ("24-hour days", predict(reviews, days, lambda at: at, practice=False)),
        ("UTC dates", predict(reviews, days, _midnight, practice=False)),
        ("study dates", predict(reviews, days, days, practice=False)),
        ("study dates, practice folded", predict(reviews, days, days, practice=True)),
    ]
    base = mean(each.recalled for each in asked[0][1])
    practised = sum(review.practice for review in reviews)
    click.echo(
        f"{len(reviews)} reviews of {len({r.card for r in reviews})} cards, {practised} of them practice; "
        f"{len(asked[0][1])} predictions, {base:.1%} recalled\n"
    )
    click.echo("| a day is | log loss | predictions after no day at all |\n| --- | --- | --- |")
    for name, predictions in asked:
        sure = sum(each.recall == 1 for each in predictions)
        click.echo(f"| {name} | {mean(each.loss for each in predictions):.4f} | {sure} |")
    constant = -(base * math.log(base) + (1 - base) * math.log(1 - base))
    click.echo(f"| the same {base:.1%} for every card | {constant:.4f} | |")
    click.echo(
        f"\npractice folded is better in {better(asked[3][1], asked[2][1])} of {SPLITS} splits of the cards"
    )


def read(log: Path) -> list[Review]:
    """Read a log in the order of time; mark each card's repeats within a sitting."""
    with log.open() as file:
        rows = sorted(
            (datetime.fromisoformat(row["review_time"]), int(row["card_id"]), int(row["review_rating"]))
            for row in csv.DictReader(file)
        )
    reviews: list[Review] = []
    sitting: set[int] = set()
    for at, card, rating in rows:
        if reviews and at - reviews[-1].at > PAUSE:
            sitting.clear()
        # Easy becomes Good: this project never rates Easy.
        reviews.append(Review(card, Rating(min(rating, Rating.Good)), at, practice=card in sitting))
        sitting.add(card)
    return reviews


def study_days(zone: tzinfo) -> Clock:
    """Return the clock that gives each review its study date, at midnight UTC."""
    return lambda at: _midnight(at.astimezone(zone).replace(tzinfo=None) - NIGHT)


def predict(reviews: Sequence[Review], days: Clock, clock: Clock, *, practice: bool) -> list[Prediction]:
    """Predict each review on a later study date, by the times of `clock`; `practice`: fold practice, too."""
    by_card: defaultdict[int, list[Review]] = defaultdict(list)
    for review in reviews:
        by_card[review.card].append(review)
    predictions = []
    for number, history in by_card.items():
        card = Card(number)
        day = None
        for review in history:
            if day is not None and days(review.at) > day:
                recall = SCHEDULER.get_card_retrievability(card, clock(review.at))
                predictions.append(Prediction(number, recall, review.rating > Rating.Again))
            if practice or not review.practice:
                card, _ = SCHEDULER.review_card(card, review.rating, clock(review.at))
            day = days(review.at)
    return predictions


def better(those: Sequence[Prediction], these: Sequence[Prediction]) -> int:
    """Count the splits of the cards in which `those` have a smaller loss than `these`."""
    return sum(
        mean(each.loss for each in those if each.card % SPLITS == split)
        < mean(each.loss for each in these if each.card % SPLITS == split)
        for split in range(SPLITS)
    )


def _midnight(at: datetime) -> datetime:
    return datetime.combine(at.date(), time(), UTC)
