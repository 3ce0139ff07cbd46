"""Check every learner's cached progress against the attempt log, while uploads go on."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, text

from shared.study.learner_rows import lock_learner
from shared.study.refold import differing, refold


@dataclass(frozen=True, slots=True)
class Checked:
    """One learner, and the questions whose progress was not what their attempts say."""

    user_id: int
    differing: set[int]


def verify(engine: Engine, *, default_zone: str, repair: bool = False) -> Iterator[Checked]:
    """Check learner by learner; with `repair`, fold again under the learner's lock what differs."""
    with engine.connect() as connection:
        learners = list(connection.execute(text("SELECT id FROM users ORDER BY id")).scalars())
    for user_id in learners:
        checked = Checked(user_id, _differing(engine, user_id, default_zone))
        if repair and checked.differing:
            _repair(engine, user_id, default_zone)
        yield checked


def _differing(engine: Engine, user_id: int, default_zone: str) -> set[int]:
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with snapshot.begin() as connection:
        return differing(connection, user_id, default_zone)


def _repair(engine: Engine, user_id: int, default_zone: str) -> None:
    with engine.begin() as connection:
        lock_learner(connection, user_id)
        refold(connection, user_id, default_zone)
